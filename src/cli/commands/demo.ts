// `placement-center demo`: a scripted life of a real cluster, which is what `npm run demo` runs.

import { fileURLToPath } from "node:url";
import { Command } from "commander";
import { jsonOption } from "../arguments.js";
import { runDemo } from "../demo/demo-script.js";
import { readLockFile } from "../demo/records.js";
import { CommandError, ExitStatus } from "../exit-status.js";
import { type Output, toJsonLine } from "../output.js";
import { listenForStop } from "../processes/stop-signals.js";

const OWN_LOCK_FILE = fileURLToPath(new URL("../../../package-lock.json", import.meta.url));
const TIME_LIMIT_MS = 120_000;

interface DemoOptions {
  readonly input: string;
  readonly json?: boolean;
}

export function demoCommand(output: Output): Command {
  return new Command("demo")
    .summary("kill the leader of a real cluster, and look for what is lost")
    .description(
      "Start three nodes in a temporary folder, write real data, kill the leader with SIGKILL in the middle, bring it back, " +
        "add a fourth node, hand leadership over, remove a node, and compare every record on every member. " +
        "Exit status 0 only if nothing that was acknowledged is lost. Leaves nothing behind.",
    )
    .option(
      "--input <package-lock.json>",
      "whose packages are the records (default: this project's own)",
      OWN_LOCK_FILE,
    )
    .addOption(jsonOption())
    .action(async (options: DemoOptions) => {
      const records = readLockFile(options.input);
      const signals = listenForStop();
      const over = AbortSignal.any([signals.first, AbortSignal.timeout(TIME_LIMIT_MS)]);
      // With --json standard output holds the summary alone.
      const tell = options.json ? output.note : output.line;
      try {
        const summary = await runDemo(records, tell, over);
        output.line(
          options.json
            ? toJsonLine(summary)
            : `\n${Object.entries(summary)
                .map(([name, value]) => `${name}: ${value}`)
                .join("\n")}`,
        );
        if (summary.lost > 0)
          throw new CommandError(ExitStatus.failed, `${summary.lost} acknowledged records are lost`, "lost");
        if (!options.json) output.line("\nNothing that was acknowledged was lost.");
      } finally {
        signals.release();
      }
    });
}
