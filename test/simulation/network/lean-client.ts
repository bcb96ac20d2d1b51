// Takes the place of src/transport/lean-client.ts: calls of the production peer sender go over the simulated network.

import type { Clock } from "../../../src/node/ports.js";
import type { LeanCall } from "../../../src/transport/lean-client.js";
import { exchangeOf } from "./transport.js";

export function callUnary(_source: unknown, clock: Clock, call: LeanCall): Promise<Uint8Array> {
  return exchangeOf(call.headers).call(clock, call.body, call.deadlineMs);
}
