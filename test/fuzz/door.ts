// What every door has: one volley is one input, and ends whatever becomes of it.

import { connect, type Socket } from "node:net";
import type { Random } from "../simulation/random.js";
import type { Target } from "./target.js";

export interface Door {
  readonly name: string;
  /**
   * - `stranger`: nobody behind this door may change anything at all.
   * - `client`: somebody who may write keys, and nothing else.
   * - `peer`: somebody whom the node takes for a member: it must live through what he says.
   * - `file`: what a person, or a bad disk, hands to the commands.
   */
  readonly who: "stranger" | "client" | "peer" | "file";
  /** Sends one input. Rejects only when the node, or a command, was wrong. */
  volley(random: Random, target: Target): Promise<Thrown>;
}

export interface Thrown {
  /** What was sent, for the report. */
  readonly what: string;
  /** It was taken in, as far as one can see: inputs that are all refused at the door show nothing of what is behind it. */
  readonly accepted: boolean;
}

const QUIET_MS = 250;

/** Writes the pieces to a fresh connection, and waits until it is closed, or nothing comes for a moment. */
export function throwAt(port: number, pieces: readonly Uint8Array[]): Promise<void> {
  return new Promise((resolve) => {
    const socket: Socket = connect({ host: "127.0.0.1", port });
    socket.setTimeout(QUIET_MS, () => socket.destroy());
    // A reset is the least that it deserves.
    socket.on("error", () => undefined);
    socket.once("close", () => resolve());
    socket.resume();
    for (const piece of pieces) socket.write(piece);
  });
}

export function shown(bytes: Uint8Array): string {
  return Buffer.from(bytes.subarray(0, 2_000)).toString("hex");
}
