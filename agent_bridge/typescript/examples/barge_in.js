// SPDX-License-Identifier: MIT
// An agent that can be interrupted: node examples/barge_in.js unix:/tmp/parrot.sock
// It says a long tone, is silent when the caller speaks, and knows how much of it was heard.

import { serve } from "../trunkline.js";

/** Your synthesiser: speech in pieces, as fast as it is made. */
async function* tone(rate, seconds) {
  for (let piece = 0; piece < seconds * 10; piece++)
    yield Int16Array.from({ length: rate / 10 }, (_, i) => 8000 * Math.sin((2 * Math.PI * 440 * i) / rate));
}

async function talk(call) {
  const tries = (Number(call.saved.toString()) || 0) + 1; // of an agent that was lost with this call, too
  call.save(String(tries));
  const { outcome, heardMs, saidMs } = await call.say(tone(call.sampleRate, 5)).done;
  console.log(`${outcome} after ${heardMs} of ${saidMs} ms, try ${tries}`);
  for await (const _ of call); // listen until the call ends
}

console.log(`listens on ${await serve(talk, process.argv[2])}`);
