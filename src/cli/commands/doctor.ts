// `placement-center doctor`: says in words what is wrong with a cluster, or with the folder of a node, and what to do.

import { Command } from "commander";
import { addClientOptions, type ClientOptions } from "../arguments.js";
import { isHealthy, printFindings } from "../doctor/finding.js";
import { ExitStatus } from "../exit-status.js";
import type { Output } from "../output.js";
import { progressOn } from "../progress.js";

export function doctorCommand(output: Output, end: (status: ExitStatus) => void): Command {
  return addClientOptions(
    new Command("doctor")
      .summary("say what is wrong, and what to do")
      .description(
        "Examine the nodes of --endpoints and all members that they know, or, with a folder, the data of one node on this machine. Changes nothing. Status 0: healthy, perhaps with warnings; 1: there are problems.",
      )
      .argument("[folder]", "the data folder of a node, stopped or running"),
  ).action(async (folder: string | undefined, options: ClientOptions) => {
    const progress = progressOn();
    const findings = await examine(folder, options, (what) => progress.show(what));
    progress.clear();
    printFindings(findings, options.json === true, output);
    if (!isHealthy(findings)) end(ExitStatus.failed);
  });
}

/** Either half takes a while to load: only the one that is needed is. */
async function examine(folder: string | undefined, options: ClientOptions, progress: (what: string) => void) {
  if (folder !== undefined) {
    const { examineFolder } = await import("../doctor/folder.js");
    return examineFolder(folder, progress);
  }
  const { askNodes } = await import("../doctor/ask-nodes.js");
  const { judgeCluster } = await import("../doctor/judge-cluster.js");
  progress(`asking ${options.endpoints.join(", ")}`);
  return judgeCluster(await askNodes(options));
}
