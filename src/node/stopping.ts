// How a node ends: leadership first, then its calls, then what it holds open. Every step has a limit.

import type { NodeId } from "../core/types.js";
import type { CallOptions } from "./calls.js";
import type { Clock } from "./ports.js";
import type { Runtime } from "./runtime.js";

export interface StopOptions {
  /**
   * How long leadership may take to be handed over, and then pending proposals to end. 0: not at all. Default: one
   * election timeout.
   */
  readonly handOverMs?: number | undefined;
  /** How long each of transport, log and state machine may take to close. Default 30,000. */
  readonly closeMs?: number | undefined;
}

const DEFAULT_CLOSE_MS = 30_000;
const DRAIN_POLL_MS = 10;

type Transfer = (to: NodeId | undefined, options: CallOptions) => Promise<NodeId>;

/** @throws AggregateError of what did not close. */
export async function stopInOrder(
  runtime: Runtime,
  transfer: Transfer,
  options: StopOptions = {},
): Promise<void> {
  const { clock, logger, state } = runtime;
  const closeMs = options.closeMs ?? DEFAULT_CLOSE_MS;
  if (state === "running") {
    runtime.state = "stopping";
    const handOverMs = options.handOverMs ?? runtime.electionTimeoutMs;
    if (handOverMs > 0) {
      await handOver(runtime, transfer, handOverMs);
      await drain(runtime, handOverMs);
    }
  }
  const { log, stateMachine } = runtime.options;
  const steps: readonly (readonly [string, () => Promise<void>])[] = [
    ["the calls under way", () => runtime.shutDown()],
    ["the transport", () => runtime.closeTransport()],
    ["the log", () => log.close()],
    ["the state machine", () => stateMachine.close()],
  ];
  const failures: Error[] = [];
  for (const [what, close] of steps) {
    try {
      await within(clock, closeMs, close(), what);
    } catch (error) {
      logger.error({ error }, `${what} did not close`);
      failures.push(error instanceof Error ? error : new Error(String(error)));
    }
  }
  if (runtime.state !== "failed") runtime.state = "stopped";
  if (failures.length > 0) throw new AggregateError(failures, "the node stopped, but not everything closed");
}

/** Resolves with whether there was anything to hand over, and anybody to hand it to. */
export async function handOver(runtime: Runtime, transfer: Transfer, deadlineMs: number): Promise<boolean> {
  const { peers, options } = runtime;
  const others = peers.membership.voters.filter((id) => id !== options.id);
  if (!runtime.isLeader || others.length === 0) return false;
  try {
    await transfer(undefined, { deadlineMs });
  } catch (error) {
    runtime.logger.warn({ error }, "leadership was not handed over; the others will hold an election");
  }
  return true;
}

/** What was proposed before the handover is mostly committed by the new leader shortly after. */
export async function drain(runtime: Runtime, deadlineMs: number): Promise<void> {
  const { clock, proposals, state } = runtime;
  const untilMs = clock.nowMs() + deadlineMs;
  while (proposals.count > 0 && clock.nowMs() < untilMs && runtime.state === state) {
    await new Promise<void>((resolve) => {
      clock.after(DRAIN_POLL_MS, resolve);
    });
  }
}

async function within(clock: Clock, limitMs: number, work: Promise<void>, what: string): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const cancel = clock.after(limitMs, () =>
      reject(new Error(`${what} did not close within ${limitMs} ms`)),
    );
    work.then(
      () => {
        cancel();
        resolve();
      },
      (error: unknown) => {
        cancel();
        reject(error instanceof Error ? error : new Error(String(error)));
      },
    );
  });
}
