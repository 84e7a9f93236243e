// SPDX-License-Identifier: MIT
// Messages of the trunkline agent protocol as bytes (PROTOCOL.md, section 3).

const CONTROL = 1, AUDIO = 2, MAX_PAYLOAD = 4 << 20, MAX_SAMPLES = 0xffff;

/** The gateway broke the protocol; the text says how. */
export class ProtocolViolation extends Error {}

function header(size, type) {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt32LE(size, 0);
  bytes[4] = type;
  return bytes;
}

/** A control message. */
export function control(type, content) {
  const payload = Buffer.from(JSON.stringify({ type, ...content }));
  return Buffer.concat([header(payload.length, CONTROL), payload]);
}

/** Speech of one call: as many messages as its length needs. */
export function* audio(channel, pcm) {
  for (let start = 0; start < pcm.length; start += MAX_SAMPLES) {
    const piece = pcm.subarray(start, start + MAX_SAMPLES);
    const payload = Buffer.alloc(24 + 2 * piece.length);
    payload.writeUInt16LE(piece.length, 0);
    payload.writeUInt32LE(1, 4);
    payload.writeUInt32LE(channel, 8);
    for (let i = 0; i < piece.length; i++) payload.writeInt16LE(piece[i], 24 + 2 * i);
    yield Buffer.concat([header(payload.length, AUDIO), payload]);
  }
}

/** Collects bytes and hands out whole messages. */
export class Reader {
  #chunks = [];
  #size = 0;
  #needed = 8;

  /** Yields { control } (the JSON object) or { channel, flags, position, pcm } for each record of audio. */
  *take(data) {
    this.#chunks.push(data);
    this.#size += data.length;
    while (this.#size >= this.#needed) {
      const bytes = this.#chunks.length === 1 ? this.#chunks[0] : Buffer.concat(this.#chunks);
      const size = bytes.readUInt32LE(0), type = bytes[4];
      if ((type !== CONTROL && type !== AUDIO) || bytes[5] || bytes[6] || bytes[7] || size > MAX_PAYLOAD)
        throw new ProtocolViolation(`bytes ${bytes.subarray(0, 8).toString("hex")} are not the header of a message`);
      this.#needed = 8 + size;
      this.#chunks = [bytes];
      if (bytes.length < this.#needed) return;
      this.#chunks = [bytes.subarray(this.#needed)];
      this.#size -= this.#needed;
      this.#needed = 8;
      const payload = bytes.subarray(8, 8 + size);
      if (type === CONTROL) yield { control: parseControl(payload) };
      else yield* records(payload);
    }
  }
}

function parseControl(payload) {
  let message;
  try {
    message = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(payload));
  } catch (error) {
    throw new ProtocolViolation(`a control message that is not JSON: ${error.message}`);
  }
  if (message === null || typeof message !== "object" || typeof message.type !== "string")
    throw new ProtocolViolation('a control message that is not an object with a "type"');
  return message;
}

function* records(payload) {
  const samples = payload.length >= 8 ? payload.readUInt16LE(0) : 0, count = samples ? payload.readUInt32LE(4) : 0;
  const size = 16 + 2 * samples;
  if (!samples || !count || payload.length !== 8 + count * size)
    throw new ProtocolViolation(`an audio message of ${payload.length} bytes with ${count} records of ${samples} samples`);
  for (let at = 8; at < payload.length; at += size) {
    const pcm = new Int16Array(samples);
    for (let i = 0; i < samples; i++) pcm[i] = payload.readInt16LE(at + 16 + 2 * i);
    yield {
      channel: payload.readUInt32LE(at),
      flags: payload.readUInt16LE(at + 4),
      position: Number(payload.readBigUInt64LE(at + 8)),
      pcm,
    };
  }
}
