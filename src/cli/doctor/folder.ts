// Examines the data folder of a node: everything when it is stopped, what can be read safely when it runs.

import { constants } from "node:fs";
import { access, open, readdir, stat, statfs } from "node:fs/promises";
import { join, resolve } from "node:path";
import { KvStateMachine } from "../../placement/kv/kv-state-machine.js";
import { findHolder } from "../../storage/folder-lock.js";
import { LogInspector } from "../../storage/inspect-log.js";
import { checksumOfFile, descriptorOf, readTrailer } from "../../storage/snapshot-file.js";
import { StorageFault } from "../../storage/storage-fault.js";
import { verifyLog } from "../../storage/verify-log.js";
import { type Finding, ok, problem, warning } from "./finding.js";

const REBUILD =
  "move the folder away and let the node rejoin under a new id (docs/operations.md, Replace a node)";
const MIB = 1024 * 1024;
/** With less than this nothing can be relied on: a snapshot and a compaction both need room. */
const SCARCE_BYTES = 256 * MIB;
const SCARCE_SHARE = 0.1;
const SHOWN_PROBLEMS = 5;

/** What the log and the state say about themselves, for holding them against each other. */
interface LogPositions {
  readonly boundary: bigint;
  readonly last: bigint;
}

/** @param progress is told what is being read. Never throws over what it finds. */
export async function examineFolder(path: string, progress: (what: string) => void): Promise<Finding[]> {
  const folder = resolve(path);
  const unusable = await whyUnusable(folder);
  if (unusable !== undefined) return [unusable];
  const findings: Finding[] = [];
  const holder = await findHolder(folder);
  findings.push(
    holder === undefined
      ? ok("lock", folder, "no process uses it")
      : ok("lock", folder, `process ${holder.pid} runs with it: checked is what can be read beside it`),
  );
  findings.push(await examineDisk(folder));
  progress("reading the log");
  const { found, positions } = await examineLog(folder, (entries) => progress(`${entries} entries read`));
  findings.push(...found);
  progress("reading snapshots");
  const snapshots = await examineSnapshots(folder);
  findings.push(...snapshots.found);
  progress("reading the state");
  if (holder !== undefined) {
    findings.push(
      ok("state", folder, "not read while the node runs; it was checked when the node was started"),
    );
  } else {
    findings.push(...(await examineState(folder, positions, snapshots.newest)));
  }
  findings.push(...(await findAudits(folder)));
  return findings;
}

async function whyUnusable(folder: string): Promise<Finding | undefined> {
  try {
    if (!(await stat(folder)).isDirectory()) {
      return problem("folder", folder, "it is no folder", "name the folder that --data of the node says");
    }
    await access(folder, constants.R_OK | constants.X_OK);
    if (!(await readdir(folder)).includes("log")) {
      return problem(
        "folder",
        folder,
        "it holds no data of a node: there is no log in it",
        "name the folder that --data of the node says; a node that never ran has none yet",
      );
    }
  } catch (error) {
    const advice =
      "name the folder that --data of the node says, and run this as the user that runs the node";
    return problem("folder", folder, `it cannot be read: ${messageOf(error)}`, advice);
  }
  return undefined;
}

async function examineDisk(folder: string): Promise<Finding> {
  const { bavail, blocks, bsize } = await statfs(folder);
  const free = bavail * bsize;
  const share = blocks === 0 ? 1 : bavail / blocks;
  const says = `${Math.floor(free / MIB)} MiB are free, ${Math.floor(share * 100)} % of the disk`;
  const advice =
    "make room or give the folder a larger disk before writes fail: the node stops for good when one does (docs/operations.md, Full disk)";
  if (free < SCARCE_BYTES) return problem("disk", folder, says, advice);
  return share < SCARCE_SHARE ? warning("disk", folder, says, advice) : ok("disk", folder, says);
}

async function examineLog(
  folder: string,
  progress: (entries: number) => void,
): Promise<{ readonly found: Finding[]; readonly positions: LogPositions | undefined }> {
  let inspector: LogInspector;
  try {
    inspector = await LogInspector.open(folder);
  } catch (error) {
    return { found: [faultFinding("log", folder, error)], positions: undefined };
  }
  try {
    const { identity, formatVersion, boundary, lastIndex, hardState, membership } = inspector.records;
    const report = await verifyLog(inspector, progress);
    const found: Finding[] = [];
    if (identity !== undefined) {
      const says = `node ${identity.nodeId} of cluster ${identity.clusterId}, format version ${formatVersion}`;
      found.push(ok("identity", folder, says));
    }
    for (const { place, problem: what } of report.problems.slice(0, SHOWN_PROBLEMS)) {
      found.push(problem("checksums", folder, `log, ${place}: ${what}`, REBUILD));
    }
    if (report.problemCount > SHOWN_PROBLEMS) {
      const says = `log: ${report.problemCount} problems in all`;
      found.push(problem("checksums", folder, says, `placement-center log verify ${folder} lists them`));
    }
    if (report.problemCount === 0) {
      const says = `log: ${report.entries} entries up to ${lastIndex}, term ${hardState?.term}, commit ${hardState?.commit}; every page and checksum as it must be`;
      found.push(ok("checksums", folder, says));
    }
    const voters = membership?.confState?.voters ?? [];
    if (membership !== undefined && voters.length === 0) {
      const says = "it belongs to no cluster yet: it waits to be added";
      found.push(warning("members", folder, says, "placement-center member add ID HOST:PORT on the cluster"));
    } else if (identity !== undefined && membership !== undefined) {
      found.push(ok("members", folder, `voters ${voters.join(", ")}, as of index ${membership.index}`));
    }
    const known = boundary !== undefined && lastIndex !== undefined;
    return { found, positions: known ? { boundary: boundary.index, last: lastIndex } : undefined };
  } finally {
    await inspector.close();
  }
}

async function examineSnapshots(
  folder: string,
): Promise<{ readonly found: Finding[]; readonly newest: bigint }> {
  const dir = join(folder, "snapshots");
  const found: Finding[] = [];
  let newest = 0n;
  const names = await readdir(dir).catch((): string[] => []);
  for (const name of names.filter((candidate) => candidate.endsWith(".snap"))) {
    try {
      const { index, bytes } = await checkSnapshot(join(dir, name));
      found.push(ok("snapshot", folder, `${name}: index ${index}, ${bytes} bytes, checksum as it must be`));
      if (index > newest) newest = index;
    } catch (error) {
      // The one that was there a moment ago may have been replaced by a newer one.
      if (isMissing(error)) continue;
      found.push(faultFinding("snapshot", folder, error));
    }
  }
  return { found, newest };
}

async function checkSnapshot(file: string): Promise<{ readonly index: bigint; readonly bytes: bigint }> {
  const handle = await open(file, "r");
  try {
    const snapshot = await readTrailer(handle, file);
    const { sizeBytes, crc32 } = descriptorOf(snapshot);
    if ((await checksumOfFile(handle, Number(sizeBytes))) !== crc32) {
      throw new StorageFault("checksum", {
        file,
        problem: "the body's checksum does not match",
        remedy: "delete this file: a snapshot that is needed is made or received anew",
      });
    }
    return { index: snapshot.metadata?.index ?? 0n, bytes: sizeBytes };
  } finally {
    await handle.close();
  }
}

async function examineState(
  folder: string,
  log: LogPositions | undefined,
  newestSnapshot: bigint,
): Promise<Finding[]> {
  const dir = join(folder, "kv");
  if (!(await exists(join(dir, "state.mdb")))) {
    return [ok("state", folder, "there is none yet: it is made from the log")];
  }
  let machine: KvStateMachine;
  try {
    machine = await KvStateMachine.open({ dir });
  } catch (error) {
    return [faultFinding("state", folder, error)];
  }
  const { appliedIndex, recordCount } = machine;
  await machine.close();
  const says = `${recordCount} keys as of index ${appliedIndex}; every page and checksum as it must be`;
  const found = [ok("state", folder, says)];
  if (log === undefined) return found;
  if (appliedIndex < log.boundary && newestSnapshot < log.boundary && log.boundary > 1n) {
    const gap = `the state ends at ${appliedIndex}, but the log begins after ${log.boundary} and no snapshot lies between`;
    found.push(problem("state", folder, gap, REBUILD));
  }
  if (appliedIndex > log.last && newestSnapshot < appliedIndex) {
    const ahead = `the state contains ${appliedIndex}, but the log ends at ${log.last}: the files of two nodes are mixed, or the log has lost its end`;
    found.push(problem("state", folder, ahead, REBUILD));
  }
  return found;
}

/** A membership that was rewritten by hand explains much of what may look odd later. */
async function findAudits(folder: string): Promise<Finding[]> {
  const audits = (await readdir(folder)).filter((name) => /^recovery-.*\.json$/.test(name));
  return audits.map((name) => ok("recovery", folder, `the membership was rewritten by hand: see ${name}`));
}

function faultFinding(check: string, folder: string, error: unknown): Finding {
  if (!(error instanceof StorageFault)) {
    return problem(check, folder, messageOf(error), "make it readable for this user, then look again");
  }
  const [says = error.message, ...advice] = error.message.split("; ");
  return problem(check, folder, says, advice.join("; "));
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "ENOENT";
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
