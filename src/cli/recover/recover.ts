// Makes a stopped node the beginning of a cluster again when the others are lost for good.

import { FolderLock } from "../../storage/folder-lock.js";
import { MembershipRewrite, type RewriteFacts, type Rewritten } from "../../storage/membership-rewrite.js";
import { StorageFault } from "../../storage/storage-fault.js";
import { CommandError, ExitStatus } from "../exit-status.js";
import { type Confirmation, writeAudit } from "./audit-file.js";

export interface RecoverRequest {
  readonly folder: string;
  /** Undefined: this node alone. */
  readonly members: ReadonlyMap<bigint, string> | undefined;
  /** Of this node, when it is reached elsewhere than before. */
  readonly address: string | undefined;
  readonly newClusterId: string | undefined;
}

export interface Recovered {
  readonly facts: RewriteFacts;
  readonly after: Rewritten;
  readonly auditFile: string;
}

/**
 * @param confirm is shown what would be done, and says whether and how that was agreed to.
 * @throws CommandError, with nothing changed, unless it was agreed to and can be done
 */
export async function recover(
  request: RecoverRequest,
  confirm: (facts: RewriteFacts, after: Rewritten) => Promise<Confirmation>,
): Promise<Recovered> {
  let lock: FolderLock | undefined;
  let rewrite: MembershipRewrite | undefined;
  try {
    // The data folder as well as the log in it: a node takes both.
    lock = await FolderLock.acquire(request.folder);
    rewrite = await MembershipRewrite.open(request.folder);
    const { facts } = rewrite;
    const after = rewrite.plan({ members: membersAfter(request, facts), clusterId: request.newClusterId });
    const confirmation = await confirm(facts, after);
    const startedAt = new Date();
    await writeAudit(request.folder, startedAt, "begun", facts, after, confirmation);
    await rewrite.apply(after);
    const auditFile = await writeAudit(request.folder, startedAt, "done", facts, after, confirmation);
    return { facts, after, auditFile };
  } catch (error) {
    throw explain(error, request.folder);
  } finally {
    await rewrite?.close();
    await lock?.release();
  }
}

function membersAfter(request: RecoverRequest, facts: RewriteFacts): ReadonlyMap<bigint, string> {
  const { nodeId } = facts.identity;
  if ((facts.membership.confState?.voters.length ?? 0) === 0) {
    throw new CommandError(
      ExitStatus.failed,
      `${request.folder}: this node never belonged to a cluster: there is nothing to recover`,
      "neverMember",
    );
  }
  if (request.members !== undefined) return request.members;
  const known = facts.membership.addresses.find(({ id }) => id === nodeId)?.address;
  const address = request.address ?? known;
  if (address === undefined) {
    throw new CommandError(
      ExitStatus.usage,
      `the address of node ${nodeId} is not known: give --address host:port`,
    );
  }
  return new Map([[nodeId, address]]);
}

function explain(error: unknown, folder: string): unknown {
  if (error instanceof StorageFault) return new CommandError(ExitStatus.failed, error.message, error.code);
  if (error instanceof Error && "code" in error && error.code === "ENOENT") {
    return new CommandError(ExitStatus.failed, `${folder}: there is no such folder`, "notLmdb");
  }
  return error;
}
