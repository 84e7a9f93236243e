// SPDX-License-Identifier: MIT
// An agent for telephone calls that trunkline carries: see examples/echo.js, trunkline.d.ts and PROTOCOL.md.

import fs from "node:fs";
import net from "node:net";
import { Call, CallEnded, CommandRefused } from "./call.js";
import { Connection } from "./connection.js";

export { Call, CallEnded, CommandRefused };

const RESUME_MS = 2000; // how long a call waits for a gateway whose media process is being replaced

/** A handler, and the calls and connections that it serves. */
export class Agent {
  calls = new Map();
  connections = new Set();
  #handler; #server = null; #away = new Map(); #leaving = false; #acks;

  constructor(handler, options = {}) {
    this.#handler = handler;
    this.options = { answer: true, ackEveryMs: 1000, ...options };
    if (this.options.ackEveryMs)
      this.#acks = setInterval(() => { for (const call of this.calls.values()) call.ack(); }, this.options.ackEveryMs).unref();
  }

  /** Listen on unix:/path (mode 0600), tcp:port (loopback) or tcp:host:port; returns where. */
  async listen(address) {
    const [, unix, host, port] = /^(?:unix:(.+)|tcp:(?:(.*):)?(\d+))$/.exec(address) ?? [];
    if (!unix && !port) throw new TypeError(`${address}: write unix:/path, tcp:port or tcp:host:port`);
    this.#server = net.createServer((socket) => this.connections.add(new Connection(this, socket)));
    const where = unix ? { path: unix } : { host: host?.replace(/^\[|\]$/g, "") || "127.0.0.1", port: Number(port) };
    if (unix) await removeStale(unix);
    const mask = unix ? process.umask(0o177) : null;
    try {
      await new Promise((resolve, reject) => this.#server.once("error", reject).listen(where, resolve));
    } finally {
      if (mask !== null) process.umask(mask);
    }
    return unix ? address : `tcp:${where.host}:${this.#server.address().port}`;
  }

  /** Take no more calls, wait for those that are up, and hand over what is left (the gateway finds another agent). */
  async finish(graceMs = 0) {
    this.#leaving = true;
    this.#server?.close();
    const ends = [...this.calls.values()].map((call) => new Promise((resolve) => call.once("stopped", resolve)));
    let timer;
    if (ends.length && graceMs)
      await Promise.race([Promise.all(ends), new Promise((resolve) => { timer = setTimeout(resolve, graceMs); })]);
    clearTimeout(timer);
    for (const call of this.calls.values()) if (this.options.ackEveryMs) call.ack();
    this.#close("handed over");
  }

  /** Hang up every call and close. */
  close() {
    for (const call of this.calls.values()) call.hangup("agent shuts down");
    this.#close("agent shuts down");
  }

  #close(reason) {
    this.#server?.close();
    clearInterval(this.#acks);
    for (const connection of this.connections) {
      connection.calls.clear();
      connection.close();
    }
    for (const call of [...this.calls.values()]) this._over(call, reason, {});
  }

  _offered(start) {
    if (this.#leaving) return [true, { code: 503, reason: "agent shuts down" }];
    return [this.options.answer || (start.call.direction ?? "inbound") !== "inbound", this.options.onOffer?.(start.call)];
  }

  _taken(start, connection, answered) {
    const known = this.calls.get(start.call.call_id);
    if (known && (start.resumed || start.attempt > 1)) {
      clearTimeout(this.#away.get(known));
      this.#away.delete(known);
      for (const other of this.connections)
        for (const [channel, call] of other.calls) if (call === known) other.calls.delete(channel);
      known._rejoin(start, connection);
      return known;
    }
    if (known) this._over(known, "replaced by a new call with its id", {});
    const call = new Call(start, connection, start.call.direction === "outbound" ? start.answered !== false : answered);
    this.calls.set(call.id, call);
    setImmediate(() => this.#run(call));
    return call;
  }

  async #run(call) {
    try {
      await this.#handler(call);
      if (call.answered || call.state === "early" || call.info.direction === "outbound") await call.mark();
      call.hangup("agent is done");
    } catch (error) {
      if (error instanceof CallEnded && call.stopped) return;
      console.error(`call ${call.id}: the handler failed`, error);
      call.hangup("agent error");
    }
  }

  _over(call, reason, stats) {
    clearTimeout(this.#away.get(call));
    this.#away.delete(call);
    if (this.calls.get(call.id) === call) this.calls.delete(call.id);
    call._stop(reason, stats);
  }

  _lost(connection) {
    this.connections.delete(connection);
    for (const call of connection.calls.values()) {
      call._detach();
      this.#away.set(call, setTimeout(() => this._over(call, "connection_lost", {}), RESUME_MS));
    }
  }
}

async function removeStale(path) {
  if (!fs.existsSync(path)) return;
  const busy = await new Promise((resolve) => {
    const probe = net.connect(path, () => { probe.destroy(); resolve(true); });
    probe.on("error", (error) => resolve(error.code !== "ECONNREFUSED"));
  });
  if (!busy && fs.statSync(path).isSocket()) fs.unlinkSync(path);
}

/** An agent as a program: Ctrl-C hangs up, SIGTERM hands its calls over once `graceMs` is over. Resolves with where. */
export async function serve(handler, address, { graceMs = 0, ...options } = {}) {
  const agent = new Agent(handler, options);
  const where = await agent.listen(address);
  process.once("SIGTERM", async () => { await agent.finish(graceMs); setTimeout(() => process.exit(0), 50); });
  process.once("SIGINT", () => { agent.close(); setTimeout(() => process.exit(130), 50); });
  return where;
}
