// SPDX-License-Identifier: MIT
// One connection from a gateway (PROTOCOL.md, sections 5, 6 and 11).

import { timingSafeEqual } from "node:crypto";
import { ProtocolViolation, Reader, control } from "./wire.js";

const HELLO_MS = 2000, SILENT_MS = 5000;

/** One connection from a gateway. */
export class Connection {
  calls = new Map();
  #agent; #socket; #greeted = false; #heardMs = Date.now(); #asked = false; #reader = new Reader();

  constructor(agent, socket) {
    this.#agent = agent;
    this.#socket = socket.setNoDelay?.(true) ?? socket;
    this.#hello = setTimeout(() => this.#fail("timeout", "no hello within 2 s"), HELLO_MS);
    this.#clock = setInterval(() => this.#tick(), 500);
    socket.on("data", (data) => this.#read(data));
    socket.on("drain", () => { for (const call of this.calls.values()) call._writable(); });
    socket.on("error", () => {});
    socket.on("close", () => this.#closed());
  }
  #hello; #clock;

  get writable() { return !this.#socket.writableNeedDrain; }

  write(buffers) { if (!this.#socket.destroyed) for (const bytes of buffers) this.#socket.write(bytes); }

  close() { this.#socket.end(); this.#socket.destroySoon(); }

  #say(type, content) { this.write([control(type, content)]); }

  #read(data) {
    this.#heardMs = Date.now();
    this.#asked = false;
    try {
      for (const message of this.#reader.take(data)) {
        if (this.#socket.writableEnded) return;
        if (message.control) this.#take(message.control);
        else if (!this.#greeted) throw new ProtocolViolation("audio before hello");
        else this.calls.get(message.channel)?._hear(message);
      }
    } catch (error) {
      if (!(error instanceof ProtocolViolation)) console.error(error);
      this.#fail("protocol", error.message);
    }
  }

  #take(message) {
    const { type, channel } = message;
    if (type === "hello") return this.#greet(message);
    if (type === "error" && channel == null) return this.close();
    if (!this.#greeted) throw new ProtocolViolation(`"${type}" before hello`);
    if (type === "ping") return this.#say("pong");
    if (type === "start") return this.#start(message);
    const call = this.calls.get(channel);
    if (type === "stop" && call) {
      this.calls.delete(channel);
      this.#agent._over(call, message.reason ?? "", message.stats ?? {});
    } else call?._tell(message);
  }

  #greet({ versions, token = "" }) {
    if (this.#greeted || !Array.isArray(versions)) throw new ProtocolViolation("a hello that cannot be");
    if (!versions.includes(1)) return this.#fail("version", `versions ${versions}; this agent speaks 1`);
    const [ours, theirs] = [Buffer.from(this.#agent.options.token ?? ""), Buffer.from(String(token))];
    if (ours.length && !(ours.length === theirs.length && timingSafeEqual(ours, theirs)))
      return this.#fail("token", "the gateway's token is wrong or missing");
    clearTimeout(this.#hello);
    this.#greeted = true;
    this.#say("hello", { version: 1, agent: this.#agent.options.name ?? "agent" });
  }

  #start(message) {
    const { channel, call, audio: format } = message;
    if (!Number.isInteger(channel) || typeof call?.call_id !== "string" || format?.encoding !== "s16le")
      throw new ProtocolViolation('"start" without channel, call_id or audio in s16le');
    const [answer, refusal] = this.#agent._offered(message);
    if (refusal) return this.#say("reject", { channel, ...refusal });
    this.#say("accept", { channel, ...(answer ? {} : { answer }) });
    this.calls.set(channel, this.#agent._taken(message, this, answer));
  }

  #tick() {
    const silentMs = Date.now() - this.#heardMs;
    if (!this.#greeted || silentMs < SILENT_MS) return;
    if (silentMs >= 2 * SILENT_MS) this.#fail("timeout", "nothing was heard for 10 s, in spite of a ping");
    else if (!this.#asked) this.#say("ping");
    this.#asked = true;
  }

  #fail(code, text) {
    this.#say("error", { code, text });
    this.close();
  }

  #closed() {
    clearTimeout(this.#hello);
    clearInterval(this.#clock);
    this.#agent._lost(this);
  }
}
