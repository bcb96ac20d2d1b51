// What was done to a data folder by hand, when, by whom and on whose word: kept in the folder for whoever asks later.

import { open } from "node:fs/promises";
import { hostname, userInfo } from "node:os";
import { join } from "node:path";
import type { HardState } from "../../gen/eraftpb_pb.js";
import type { RewriteFacts, Rewritten } from "../../storage/membership-rewrite.js";
import { syncFolder } from "../../storage/storage-files.js";
import { membersOf } from "../log/format.js";
import { toJsonLine } from "../output.js";

/** How somebody said that it shall be done. */
export type Confirmation = "flag" | "typed";

/**
 * Written twice, under one name: before the change, and when it is done. Returns the path.
 * @param startedAt names the file, so that it must be the same both times.
 */
export async function writeAudit(
  folder: string,
  startedAt: Date,
  state: "begun" | "done",
  facts: RewriteFacts,
  after: Rewritten,
  confirmation: Confirmation,
): Promise<string> {
  const file = join(folder, `recovery-${startedAt.toISOString().replaceAll(/[:.]/g, "-")}.json`);
  const { identity, hardState, membership, boundary, lastIndex, membershipEntries } = facts;
  const content = {
    format: 1,
    what: "the membership of a stopped node was rewritten",
    state,
    startedAt: startedAt.toISOString(),
    host: hostname(),
    user: userName(),
    confirmation,
    nodeId: identity.nodeId,
    before: {
      clusterId: identity.clusterId,
      hardState: hardStateOf(hardState),
      membership: { index: membership.index, members: membersOf(membership) },
    },
    after: {
      clusterId: after.identity.clusterId,
      hardState: hardStateOf(after.hardState),
      membership: { index: after.membership.index, members: membersOf(after.membership) },
    },
    log: { boundary, lastIndex, commit: hardState.commit, membershipEntries },
  };
  const handle = await open(file, "w");
  try {
    await handle.writeFile(`${toJsonLine(content)}\n`);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await syncFolder(folder);
  return file;
}

function hardStateOf({ term, vote, commit }: HardState): object {
  return { term, vote, commit };
}

function userName(): string {
  try {
    return userInfo().username;
  } catch {
    // Containers may run as a user without a name.
    return String(process.getuid?.() ?? "unknown");
  }
}
