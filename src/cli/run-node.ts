// One node in this process, until a signal or the supervising process tells it to stop.

import pino from "pino";
import { startPlacementCenter } from "../placement/server.js";
import { CommandError, ExitStatus } from "./exit-status.js";
import { watchLogLevel } from "./log-level.js";
import { type NodeOptions, toPlacementConfig } from "./node-options.js";
import { describeStartFailure } from "./processes/start-failure.js";
import { listenForStop, TERMINAL_SIGNALS } from "./processes/stop-signals.js";
import { isSupervised, onSupervisorStop, reportToSupervisor } from "./processes/supervision.js";

const LAST_EXIT_MS = 5_000;

/** @throws CommandError when the node cannot start, or has failed for good. */
export async function runNode(options: NodeOptions): Promise<void> {
  const logger = pino({ level: options.logLevel, base: { node: String(options.id), pid: process.pid } });
  const stop = new AbortController();
  onSupervisorStop(() => stop.abort());
  // What a terminal sends reaches the supervisor too, and it is for the supervisor to stop its nodes.
  const signals = listenForStop(isSupervised() ? TERMINAL_SIGNALS : []);
  signals.first.addEventListener("abort", () => stop.abort(), { once: true });
  signals.second.addEventListener("abort", () => process.exit(ExitStatus.failed), { once: true });
  let unwatch = (): void => {};
  try {
    const center = await startPlacementCenter(toPlacementConfig(options, logger)).catch((error: unknown) => {
      throw describeStartFailure(error);
    });
    unwatch = await watchLogLevel(options.data, options.logLevel, (level) => {
      logger.level = level;
      logger[level]({ level }, "log level changed");
    });
    reportToSupervisor({ kind: "listening" });
    logger.info({ address: center.address, httpAddress: center.httpAddress }, "listening");
    const failure = await Promise.race([center.fatal, aborted(stop.signal)]);
    if (failure !== undefined) {
      logger.error({ err: failure }, "the node has failed for good");
      // Nothing is left to be saved: its end is to be noticed, and not to be held up by what has failed.
      void center.stop().catch(() => {});
      throw new CommandError(ExitStatus.failed, `the node has failed for good: ${failure.message}`, "fatal");
    }
    logger.info({}, "stopping");
    await center.stop();
    logger.info({}, "stopped");
  } catch (error) {
    if (error instanceof CommandError) {
      reportToSupervisor({ kind: "failed", message: error.message, exitStatus: error.exitStatus });
    }
    throw error;
  } finally {
    unwatch();
    signals.release();
    if (process.connected) process.disconnect();
    // A thread that hangs in the disk would keep this process for ever. The timer alone does not keep it.
    setTimeout(() => process.exit(), LAST_EXIT_MS).unref();
  }
}

function aborted(signal: AbortSignal): Promise<undefined> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve(undefined);
    else signal.addEventListener("abort", () => resolve(undefined), { once: true });
  });
}
