// SPDX-License-Identifier: MIT
// One telephone call, as the code of an agent sees it: trunkline.d.ts says what each method does.

import { EventEmitter } from "node:events";
import { audio, control } from "./wire.js";

const MOST_UNHEARD = 1500; // frames kept for a handler that does not listen
const FLAGS = { speech: 1, concealed: 2, comfortNoise: 4, gap: 8, replay: 16 };
const REFUSALS = ["forbidden", "not_now", "bad_target", "bad_header", "unsupported"];

/** The call was over before the answer came. */
export class CallEnded extends Error {}

/** The gateway does not do what it was asked for; `code` is a word for programs. */
export class CommandRefused extends Error {
  constructor(code, text) {
    super(`${text} (${code})`);
    this.code = code;
  }
}

/** One call: iterate over it to hear, say() or play() to speak. Emits "event" with whatever else happens. */
export class Call extends EventEmitter {
  stopped = null;
  #connection; #channel; #frames = []; #reader = null; #heardTo; #taken; #acked; #nextFlags = 0;
  #marks = []; #clears = []; #waiting = []; #utterances = new Set(); #cuts = new Map(); #names = 0;
  #paused = false; #drains = []; #held = [];

  constructor(start, connection, answered) {
    super();
    this.#attach(start, connection);
    this.state = answered ? "answered" : "offered";
    this.variables = { ...start.variables };
    this.saved = Buffer.from(start.state ?? "", "base64");
    this.#heardTo = this.#taken = this.#acked = start.position ?? 0;
  }

  get id() { return this.info.call_id; }
  get caller() { return this.info.caller ?? ""; }
  get called() { return this.info.called ?? ""; }
  get headers() { return this.info.headers ?? {}; }
  get metadata() { return this.info.metadata ?? {}; }
  get answered() { return this.state === "answered"; }

  // --- hear ---

  async *[Symbol.asyncIterator]() {
    for (;;) {
      if (this.#frames.length) {
        const frame = this.#frames.shift();
        yield frame;
        this.#taken = frame.position + frame.pcm.length; // dealt with: the handler asks for the next
      } else if (this.stopped) return;
      else await new Promise((resolve) => { this.#reader = resolve; });
    }
  }

  // --- speak ---

  play(pcm) {
    const samples = pcm instanceof Int16Array ? pcm : new Int16Array(Uint8Array.from(pcm).buffer);
    this.#send((channel) => [...audio(channel, samples)]);
  }

  async drain() {
    await new Promise(setImmediate);
    if (!this.stopped && (this.#paused || !this.#connection?.writable))
      await new Promise((resolve) => this.#drains.push(resolve));
  }

  mark(name = `mark-${++this.#names}`) {
    return new Promise((resolve) => {
      if (this.stopped) return resolve({ name, outcome: "ended", position: 0 });
      this.#marks.push({ name, resolve });
      this.#say("mark", { name });
    });
  }

  clear() {
    const name = `clear-${++this.#names}`;
    this.#cuts.set(name, [...this.#utterances]);
    for (const utterance of this.#utterances) utterance.cut = true;
    return new Promise((resolve, reject) => {
      if (this.stopped) return reject(new CallEnded(this.stopped.reason));
      this.#clears.push({ name, resolve, reject });
      this.#say("clear", { name });
    });
  }

  say(speech, { interruptible = true } = {}) {
    const utterance = { interruptible, cut: false, samples: 0, began: null, fed: false };
    const before = Promise.allSettled([...this.#utterances].map((one) => one.handedIn));
    this.#utterances.add(utterance);
    utterance.over = new Promise((resolve) => { utterance.settle = resolve; });
    utterance.handedIn = before.then(() => this.#handIn(utterance, speech));
    const done = Promise.race([utterance.over, utterance.handedIn.then(() => utterance.over)]);
    const forget = () => this.#utterances.delete(utterance);
    done.then(forget, forget);
    return { done, interrupt: () => { this.clear().catch(() => {}); return done; } };
  }

  async #handIn(utterance, speech) {
    if (utterance.cut) return;
    if (this.stopped) return this.#settle(utterance, "ended", 0);
    this.mark().then((report) => { utterance.began = report; });
    const pieces = speech[Symbol.asyncIterator] ? speech : [speech];
    for await (const piece of pieces) {
      if (utterance.cut) return;
      const pcm = piece instanceof Int16Array ? piece : new Int16Array(Uint8Array.from(piece).buffer);
      utterance.samples += pcm.length;
      this.play(pcm);
      await this.drain();
    }
    if (utterance.cut) return;
    utterance.fed = true;
    this.mark().then(({ outcome }) => {
      utterance.end = outcome;
      if (outcome !== "cleared") this.#settle(utterance, outcome, outcome === "played" ? Infinity : 0);
    });
  }

  #settle(utterance, outcome, heardMs) {
    const saidMs = Math.floor((utterance.samples * 1000) / this.sampleRate);
    utterance.settle({ outcome, heardMs: Math.floor(Math.min(Math.max(heardMs, 0), saidMs)), saidMs });
  }

  #heardOf(utterance, playedMs) {
    if (utterance.end === "played") return;
    const { outcome, position } = utterance.began ?? {};
    this.#settle(utterance, "interrupted", outcome === "played" ? playedMs - (position * 1000) / this.sampleRate : 0);
  }

  // --- decide ---

  ring(headers = {}) { this.#say("ring", { headers }); }
  progress(headers = {}) { this.#say("progress", { headers }); }
  answer(headers = {}) { return this.answered ? Promise.resolve() : this.#ask("answer", { headers }); }
  hold(music = "") { this.#say("hold", { held: true, music }); }
  resume() { this.#say("hold", { held: false }); }
  transfer(target, { attended, headers } = {}) { return this.#ask("transfer", { target, attended, headers }); }
  mute({ uplink, downlink }) { this.#say("mute", { uplink, downlink }); }
  pause(paused = true) { this.#say("pause", { paused }); }
  sendDtmf(digits, durationMs = 160, gapMs = 80) { this.#say("dtmf", { digits, duration_ms: durationMs, gap_ms: gapMs }); }
  status() { return this.#ask("status", {}); }
  hangup(reason = "", code = 0) { this.#say("hangup", { reason, code }); }

  set(values) {
    for (const [name, text] of Object.entries(values)) {
      if (text) this.variables[name] = text;
      else delete this.variables[name];
    }
    this.#say("variables", { values });
  }

  save(data) {
    this.saved = Buffer.from(data);
    if (this.saved.length > 8192) throw new RangeError(`a state of ${this.saved.length} bytes; at most 8192`);
    this.#say("state", { data: this.saved.toString("base64") });
  }

  ack(position = this.#taken) {
    if (position <= this.#acked) return;
    this.#acked = position;
    this.#say("ack", { position });
  }

  #ask(kind, content) {
    return new Promise((resolve, reject) => {
      if (this.stopped) return reject(new CallEnded(this.stopped.reason));
      this.#waiting.push({ kind, resolve, reject });
      this.#say(kind, content);
    });
  }

  #answered(kinds, result, error) {
    const at = this.#waiting.findIndex((one) => kinds.includes(one.kind));
    if (at < 0) return;
    const [{ resolve, reject }] = this.#waiting.splice(at, 1);
    error ? reject(error) : resolve(result);
  }

  #say(type, content) { this.#send((channel) => [control(type, { channel, ...content })]); }

  #send(make) {
    if (this.stopped) return;
    if (this.#connection) this.#connection.write(make(this.#channel));
    else this.#held.push(make);
  }

  // --- told by the connection ---

  #attach(start, connection) {
    this.info = start.call;
    this.sampleRate = start.audio.sample_rate_hz;
    this.attempt = start.attempt ?? 1;
    this.#connection = connection;
    this.#channel = start.channel;
  }

  _rejoin(start, connection) {
    if (this.#connection) this._detach();
    this.#attach(start, connection);
    this.#nextFlags = start.replay_ms ? 0 : FLAGS.gap;
    for (const make of this.#held.splice(0)) this.#send(make);
    this._writable();
    this.emit("event", { type: "resumed", gap_ms: start.gap_ms ?? 0 });
  }

  _detach() {
    this.#connection = null;
    this.#paused = false;
    for (const { name, resolve } of this.#marks.splice(0)) resolve({ name, outcome: "lost", position: 0 });
    for (const { name } of this.#clears) this.#say("clear", { name });
  }

  _hear({ position, flags, pcm }) {
    if (flags & FLAGS.replay && position < this.#heardTo) return; // heard before: we were never lost
    this.#heardTo = position + pcm.length;
    const frame = { pcm, position };
    for (const [name, bit] of Object.entries(FLAGS)) frame[name] = ((flags | this.#nextFlags) & bit) !== 0;
    this.#nextFlags = 0;
    this.#frames.push(frame);
    if (this.#frames.length > MOST_UNHEARD) {
      this.#frames.shift();
      this.#frames[0].gap = true;
    }
    this.#wake();
  }

  _writable() {
    if (this.stopped || (!this.#paused && this.#connection?.writable)) for (const go of this.#drains.splice(0)) go();
  }

  _tell({ channel, ...message }) {
    switch (message.type) {
      case "mark": return this.#markReported(message);
      case "cleared": return this.#cleared(message);
      case "flow":
        this.#paused = message.state === "pause";
        return this._writable();
      case "status": return this.#answered(["status"], message.status);
      case "call_state":
        this.state = message.state;
        if (this.answered) this.#answered(["answer"]);
        break;
      case "transfer":
        if (message.state === "done" || message.state === "failed") this.#answered(["transfer"], message);
        break;
      case "error":
        if (REFUSALS.includes(message.code))
          this.#answered(["answer", "transfer", "status"], null, new CommandRefused(message.code, message.text));
        break;
      case "speech":
        if (message.state === "started" && this.#utterances.size && [...this.#utterances].every((u) => u.interruptible))
          this.clear().catch(() => {});
    }
    this.emit("event", message);
  }

  #markReported({ name, outcome, position }) {
    const at = this.#marks.findIndex((mark) => mark.name === name);
    if (at >= 0) this.#marks.splice(at, 1)[0].resolve({ name, outcome, position });
  }

  async #cleared({ name = "", played_ms: playedMs, discarded_ms: discardedMs, marks = [] }) {
    for (const mark of marks) this.#markReported({ name: mark, outcome: "cleared", position: 0 });
    const at = this.#clears.findIndex((clear) => clear.name === name);
    const [clear] = at >= 0 ? this.#clears.splice(at, 1) : [];
    await null; // what waits for those marks goes first
    const cut = this.#cuts.get(name) ?? [...this.#utterances].filter((one) => one.began);
    this.#cuts.delete(name);
    if (clear) clear.resolve({ playedMs, discardedMs, marks });
    if (clear || cut.every((one) => one.end)) for (const one of cut) this.#heardOf(one, playedMs);
    else this.clear().catch(() => {}); // what was on its way when the gateway cleared must not be heard either
    if (!clear) this.emit("event", { type: "cleared", name, played_ms: playedMs, discarded_ms: discardedMs, marks });
  }

  _stop(reason, stats) {
    if (this.stopped) return;
    this.stopped = { reason, stats };
    this.#connection = null;
    for (const { name, resolve } of this.#marks.splice(0)) resolve({ name, outcome: "ended", position: 0 });
    for (const { reject } of [...this.#clears.splice(0), ...this.#waiting.splice(0)]) reject(new CallEnded(reason));
    for (const utterance of this.#utterances) this.#settle(utterance, "ended", 0);
    this._writable();
    this.#wake();
    this.emit("stopped", this.stopped);
  }

  #wake() {
    this.#reader?.();
    this.#reader = null;
  }
}
