// `placement-center doctor`: says in words what is wrong with a cluster, or with the folder of a node, and what to do.

import { setTimeout as sleep } from "node:timers/promises";
import { Command, Option } from "commander";
import { showToken } from "../../placement/client.js";
import { addClientOptions, type ClientOptions, parseCount, parseEndpoints } from "../arguments.js";
import { readClientTls, readToken } from "../client-session.js";
import { isHealthy, printFindings } from "../doctor/finding.js";
import { ExitStatus } from "../exit-status.js";
import type { Output } from "../output.js";
import { progressOn } from "../progress.js";

interface DoctorOptions extends ClientOptions {
  readonly waitMs: number;
  readonly metrics?: readonly string[];
}

const LOOK_EVERY_MS = 500;
const MAX_WAIT_MS = 86_400_000;

export function doctorCommand(output: Output, end: (status: ExitStatus) => void): Command {
  return addClientOptions(
    new Command("doctor")
      .summary("say what is wrong, and what to do")
      .description(
        "Examine the nodes of --endpoints and all members that they know, or, with a folder, the data of one node on this machine. Changes nothing. Status 0: healthy, perhaps with warnings; 1: there are problems.",
      )
      .argument("[folder]", "the data folder of a node, stopped or running")
      .addOption(
        new Option(
          "--metrics <host:port,...>",
          "the --http of nodes: also judge what they count about disk and event loop",
        ).argParser(parseEndpoints),
      )
      .addOption(
        new Option("--wait-ms <milliseconds>", "look again until all is healthy, at most so long")
          .default(0)
          .argParser((text: string) => parseCount(text, 0, MAX_WAIT_MS)),
      ),
  ).action(async (folder: string | undefined, options: DoctorOptions) => {
    const progress = progressOn();
    const untilMs = performance.now() + options.waitMs;
    let findings = await examine(folder, options, (what) => progress.show(what));
    while (!isHealthy(findings) && performance.now() < untilMs) {
      progress.show(
        `not healthy yet: ${findings.find(({ severity }) => severity === "problem")?.says ?? ""}`,
      );
      await sleep(LOOK_EVERY_MS);
      findings = await examine(folder, options, () => {});
    }
    progress.clear();
    printFindings(findings, options.json === true, output);
    if (!isHealthy(findings)) end(ExitStatus.failed);
  });
}

/** Either half takes a while to load: only the one that is needed is. */
async function examine(folder: string | undefined, options: DoctorOptions, progress: (what: string) => void) {
  if (folder !== undefined) {
    const { examineFolder } = await import("../doctor/folder.js");
    return examineFolder(folder, progress);
  }
  const { askNodes } = await import("../doctor/ask-nodes.js");
  const { judgeCluster } = await import("../doctor/judge-cluster.js");
  progress(`asking ${options.endpoints.join(", ")}`);
  const { examineMetrics } = await import("../doctor/judge-metrics.js");
  const access = { tls: readClientTls(options), authorization: showToken(readToken(options))() };
  const counted = Promise.all((options.metrics ?? []).map((address) => examineMetrics(address, access)));
  return [...judgeCluster(await askNodes(options)), ...(await counted).flat()];
}
