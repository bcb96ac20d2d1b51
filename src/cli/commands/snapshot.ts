// `placement-center snapshot`: backups of the store, and new clusters out of them.

import { Command, Option } from "commander";
import type { SnapshotInfo } from "../../gen/service_pb.js";
import { StorageFault } from "../../storage/storage-fault.js";
import {
  addClientOptions,
  type ClientOptions,
  jsonOption,
  LONG_DEADLINE_MS,
  parseClusterId,
  parseHostPort,
  parseMembers,
  parseNodeId,
} from "../arguments.js";
import type { BackupContents } from "../backup/verify-backup.js";
import { withClient } from "../client-session.js";
import { atEachEndpoint } from "../each-endpoint.js";
import { CommandError, ExitStatus } from "../exit-status.js";
import { type Output, toJsonLine } from "../output.js";
import { listenForStop } from "../processes/stop-signals.js";
import { type Progress, progressOn } from "../progress.js";

interface SaveOptions extends ClientOptions {
  readonly from?: string;
  readonly overwrite?: boolean;
}

interface FileOptions {
  readonly json?: boolean;
}

interface RestoreOptions extends FileOptions {
  readonly data: string;
  readonly id: bigint;
  readonly clusterId: string;
  readonly members: ReadonlyMap<bigint, string>;
  readonly reuseClusterId?: boolean;
}

export function snapshotCommand(output: Output, end: (status: ExitStatus) => void): Command {
  const command = new Command("snapshot").summary("back up the store: save, status, verify, restore, take");
  command.addCommand(saveCommand(output));
  command.addCommand(statusCommand(output));
  command.addCommand(verifyCommand(output));
  command.addCommand(restoreCommand(output));
  command.addCommand(takeCommand(output, end));
  return command;
}

function saveCommand(output: Output): Command {
  const command = new Command("save")
    .description(
      "Save a backup of the whole store, as of now: it contains every write that was acknowledged before. The file is complete, checked and on disk when this ends with status 0; otherwise there is none.",
    )
    .argument("<file>", "where to save it")
    .option(
      "--from <host:port>",
      "take it from this node, whatever it has applied (default: the leader)",
      parseHostPort,
    )
    .option("--overwrite", "replace the file if it is there");
  return addClientOptions(command).action(async (file: string, options: SaveOptions) => {
    const { saveBackup } = await import("../backup/save-backup.js");
    const { from: endpoint, overwrite = false, deadlineMs } = options;
    const stop = listenForStop();
    const request = { file, endpoint, overwrite, deadlineMs, signal: stop.first };
    const saved = await withProgress((progress) =>
      withClient(options, (client) =>
        saveBackup(client, request, (done, of) => progress.show(`${done} of ${of} bytes received`)),
      ),
    ).finally(() => stop.release());
    const lines =
      options.json === true
        ? [toJsonLine({ file, endpoint: saved.endpoint, ...describe(saved.info, saved.contents) })]
        : [
            `${file}: ${saved.contents.keys} keys as of revision ${saved.contents.revision}, ${saved.info.sizeBytes} bytes, from ${saved.endpoint}`,
          ];
    for (const line of lines) output.line(line);
  });
}

function statusCommand(output: Output): Command {
  return new Command("status")
    .description("Show what a backup says about itself. Its body is not read: see verify.")
    .argument("<file>", "a backup, or a file in the snapshots folder of a node")
    .addOption(jsonOption())
    .action(async (file: string, options: FileOptions) => {
      const { BackupFile } = await import("../backup/backup-file.js");
      const { readContents } = await import("../backup/verify-backup.js");
      const backup = await BackupFile.open(file);
      try {
        const contents = await readContents(backup);
        show(file, backup.info, contents, options, output);
      } finally {
        await backup.close();
      }
    });
}

function verifyCommand(output: Output): Command {
  return new Command("verify")
    .description(
      "Read a whole backup and check everything: checksums, order, counts. Status 1 if it is not sound.",
    )
    .argument("<file>", "a backup, or a file in the snapshots folder of a node")
    .addOption(jsonOption())
    .action(async (file: string, options: FileOptions) => {
      const { verifyBackup } = await import("../backup/verify-backup.js");
      const contents = await withProgress((progress) =>
        verifyBackup(file, (done, of) => progress.show(`${done} of ${of} bytes checked`)),
      );
      output.line(
        options.json === true
          ? toJsonLine({ file, sound: true, ...contents })
          : `sound: ${contents.keys} keys as of revision ${contents.revision}`,
      );
    });
}

function restoreCommand(output: Output): Command {
  return new Command("restore")
    .description(
      "Make the data folder of one node of a new cluster out of a backup. Run it once for each member, with the same file and --members, then start them all. What the cluster wrote after the backup is not in it.",
    )
    .argument("<file>", "a backup, or a file in the snapshots folder of a node")
    .requiredOption("--data <folder>", "of the node; must not exist, or be empty")
    .requiredOption("--id <number>", "of the node", parseNodeId)
    .requiredOption("--cluster-id <name>", "of the new cluster; use it with `start` as well", parseClusterId)
    .addOption(
      new Option("--members <id=host:port,...>", "all members of the new cluster")
        .argParser(parseMembers)
        .makeOptionMandatory(),
    )
    .option("--reuse-cluster-id", "the old cluster is gone for good: the new one may have its id")
    .addOption(jsonOption())
    .action(async (file: string, options: RestoreOptions) => {
      const { restoreBackup } = await import("../backup/restore-backup.js");
      const { data: folder, id: nodeId, clusterId, members, reuseClusterId = false } = options;
      const request = { file, folder, nodeId, clusterId, members, reuseClusterId };
      const contents = await withProgress((progress) =>
        restoreBackup(request, (what, done, of) => progress.show(`${done} of ${of} bytes ${what}`)),
      );
      if (options.json === true) {
        const list = [...members].map(([id, address]) => ({ id, address }));
        output.line(toJsonLine({ data: folder, nodeId, clusterId, members: list, ...contents }));
        return;
      }
      output.line(
        `${folder}: node ${nodeId} of cluster ${clusterId}, ${contents.keys} keys as of revision ${contents.revision}`,
      );
      output.line("next: restore the other members from the same file, then start all of them");
    });
}

function takeCommand(output: Output, end: (status: ExitStatus) => void): Command {
  const command = new Command("take").description(
    "Have every node of --endpoints take a snapshot into its own folder now, from which new and lagging members are served.",
  );
  return addClientOptions(command, LONG_DEADLINE_MS).action((options: ClientOptions) =>
    atEachEndpoint(options, output, end, {
      ask: async (client, endpoint) => {
        const info = await client.takeSnapshot(endpoint);
        const { index = 0n, term = 0n, sizeBytes = 0n } = info ?? {};
        return { index, term, sizeBytes };
      },
      columns: ["index", "term", "bytes"],
      row: ({ index, term, sizeBytes }) => [String(index), String(term), String(sizeBytes)],
    }),
  );
}

async function withProgress<T>(work: (progress: Progress) => Promise<T>): Promise<T> {
  const progress = progressOn();
  try {
    return await work(progress);
  } catch (error) {
    if (error instanceof StorageFault) throw new CommandError(ExitStatus.failed, error.message, error.code);
    throw error;
  } finally {
    progress.clear();
  }
}

function describe(info: SnapshotInfo, contents: BackupContents): object {
  const { index, term, sizeBytes, checksum, clusterId, membership } = info;
  const members = (membership?.members ?? []).map(({ id, address, learner }) => ({ id, address, learner }));
  return { clusterId, index, term, sizeBytes, checksum: hex(checksum), ...contents, members };
}

function show(
  file: string,
  info: SnapshotInfo,
  contents: BackupContents,
  options: FileOptions,
  output: Output,
): void {
  if (options.json === true) {
    output.line(toJsonLine({ file, ...describe(info, contents) }));
    return;
  }
  const members = (info.membership?.members ?? []).map(
    ({ id, address, learner }) => `${id} at ${address} (${learner ? "learner" : "voter"})`,
  );
  for (const line of [
    `cluster   ${info.clusterId === "" ? "not said: the file is from a node's own folder" : info.clusterId}`,
    `as of     entry ${info.index} of term ${info.term}, revision ${contents.revision}`,
    `holds     ${contents.keys} keys, the last writes of ${contents.sessions} clients`,
    `body      ${info.sizeBytes} bytes, CRC-32 ${hex(info.checksum)}`,
    `members   ${members.join(", ")}`,
  ]) {
    output.line(line);
  }
}

function hex(checksum: number): string {
  return checksum.toString(16).padStart(8, "0");
}
