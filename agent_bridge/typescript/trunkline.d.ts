// SPDX-License-Identifier: MIT
// Types of the SDK, and what each part does.

import { EventEmitter } from "node:events";

/** One packet time of the caller's audio; exactly one comes for each, lost packets included. */
export interface Frame {
  /** at `call.sampleRate` */
  pcm: Int16Array;
  /** of the first sample, counted from the start of the call */
  position: number;
  /** the gateway heard a voice in it */
  speech: boolean;
  /** made up in place of a lost packet */
  concealed: boolean;
  comfortNoise: boolean;
  /** something before this frame is missing: `position` says how much */
  gap: boolean;
  /** said before, to an agent that was lost */
  replay: boolean;
}

/** int16 samples, or s16le bytes */
export type Pcm = Int16Array | Uint8Array;

export interface MarkReport {
  name: string;
  outcome: "played" | "cleared" | "lost" | "ended";
  /** samples played to the caller up to it */
  position: number;
}

export interface Cleared {
  playedMs: number;
  discardedMs: number;
  marks: string[];
}

/** What became of something that was said. */
export interface Spoken {
  outcome: "played" | "interrupted" | "lost" | "ended";
  /** how much of it the caller has been sent */
  heardMs: number;
  saidMs: number;
}

export interface Utterance {
  done: Promise<Spoken>;
  /** silence it, and all that is said after it */
  interrupt(): Promise<Spoken>;
}

/** Anything the gateway tells beside audio: the messages of PROTOCOL.md, section 6, as they are. */
export interface CallEvent {
  type:
    | "dtmf" | "hold" | "quality" | "network" | "speech" | "turn" | "underrun" | "call_state" | "transfer"
    | "error" | "resumed" | "cleared" | (string & {});
  [field: string]: unknown;
}

export interface TransferOutcome {
  state: "done" | "failed";
  code?: number;
  reason?: string;
}

/** The `call` of the gateway's offer, as it is on the wire. */
export interface CallInfo {
  call_id: string;
  direction?: "inbound" | "outbound";
  caller?: string;
  called?: string;
  trunk?: string;
  route?: string;
  headers?: Record<string, string>;
  metadata?: Record<string, string>;
}

export class CallEnded extends Error {}

/** The gateway does not do what it was asked for. */
export class CommandRefused extends Error {
  /** a word for programs: `forbidden`, `not_now`, ... */
  code: string;
}

/** Iterate over it to hear, `say()` or `play()` to speak; "event" and "stopped" are emitted. */
export class Call extends EventEmitter implements AsyncIterable<Frame> {
  readonly info: CallInfo;
  readonly id: string;
  readonly caller: string;
  readonly called: string;
  readonly headers: Record<string, string>;
  readonly metadata: Record<string, string>;
  readonly sampleRate: number;
  /** which agent this is that has the call: 2 after the first was lost */
  readonly attempt: number;
  /** what `save()` was given last, by this agent or the one before it */
  readonly saved: Buffer;
  readonly variables: Record<string, string>;
  readonly state: "offered" | "ringing" | "early" | "answered";
  readonly answered: boolean;
  readonly stopped: { reason: string; stats: Record<string, number> } | null;

  [Symbol.asyncIterator](): AsyncIterator<Frame>;

  /** Say this after all that was said before: any length, faster than time. Never waits. */
  play(pcm: Pcm): void;
  /** Wait while the gateway has enough. */
  drain(): Promise<void>;
  /** Say this; the caller's voice ends it, unless it is not interruptible. */
  say(speech: Pcm | AsyncIterable<Pcm>, options?: { interruptible?: boolean }): Utterance;
  /** When all that was said before has been played. */
  mark(name?: string): Promise<MarkReport>;
  /** Silence at once. */
  clear(): Promise<Cleared>;
  pause(paused?: boolean): void;

  ring(headers?: Record<string, string>): void;
  progress(headers?: Record<string, string>): void;
  answer(headers?: Record<string, string>): Promise<void>;
  hold(music?: string): void;
  resume(): void;
  transfer(
    target: string | undefined,
    options?: { attended?: string; headers?: Record<string, string> },
  ): Promise<TransferOutcome>;
  mute(ways: { uplink?: boolean; downlink?: boolean }): void;
  sendDtmf(digits: string, durationMs?: number, gapMs?: number): void;
  /** Put texts on the call; an empty one removes its name. */
  set(values: Record<string, string>): void;
  status(): Promise<Record<string, number>>;
  hangup(reason?: string, code?: number): void;

  /** At most 8,192 bytes for whoever gets the call next. */
  save(data: string | Uint8Array): void;
  /** What came before this position need not be said again to another agent; by itself once a second. */
  ack(position?: number): void;
}

export interface AgentOptions {
  name?: string;
  /** gateways must say the same */
  token?: string;
  /** false: handlers answer calls themselves */
  answer?: boolean;
  /** 0: only by `call.ack()` */
  ackEveryMs?: number;
  /** asked before a call is taken; what it returns refuses it */
  onOffer?: (call: CallInfo) => { code?: number; reason?: string } | undefined | void;
}

export type Handler = (call: Call) => Promise<void> | void;

export class Agent {
  constructor(handler: Handler, options?: AgentOptions);
  readonly calls: Map<string, Call>;
  /** `unix:/path` (mode 0600), `tcp:port` (loopback) or `tcp:host:port`; returns where. */
  listen(address: string): Promise<string>;
  /** Take no more calls, wait for those that are up, hand over what is left. */
  finish(graceMs?: number): Promise<void>;
  /** Hang up every call and close. */
  close(): void;
}

/** An agent as a program: Ctrl-C hangs up, SIGTERM hands its calls over once `graceMs` is over. */
export function serve(handler: Handler, address: string, options?: AgentOptions & { graceMs?: number }): Promise<string>;
