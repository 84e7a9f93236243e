// SPDX-License-Identifier: MIT
// An agent that repeats what it hears: node examples/echo.js unix:/tmp/echo.sock

import { serve } from "../trunkline.js";

async function echo(call) {
  for await (const frame of call) call.play(frame.pcm);
}

console.log(`listens on ${await serve(echo, process.argv[2])}`);
