// Begins a group while the node runs: what it would have been started with comes to it as a snapshot without a body, by
// the same way as a leader's, so that a crash leaves the old or the new.

import { create, toBinary } from "@bufbuild/protobuf";
import type { NodeId } from "../core/types.js";
import { ConfStateSchema, SnapshotMetadataSchema, SnapshotSchema } from "../gen/eraftpb_pb.js";
import { MembershipRecordSchema, SnapshotDescriptorSchema } from "../gen/records_pb.js";
import type { CallOptions } from "./calls.js";
import { RaftNodeError } from "./errors.js";
import { BIRTH_INDEX, fromRecord, isVoter, type Membership, memberIds } from "./membership.js";
import { invalid, refused } from "./membership-change.js";
import type { Cancel, MembershipRecord, Snapshot } from "./ports.js";
import type { Runtime } from "./runtime.js";

export interface InitialMember {
  readonly id: NodeId;
  /** `host:port` */
  readonly address: string;
  /** Default: a voter. */
  readonly learner?: boolean | undefined;
}

const MAX_MEMBERS = 100;
const MAX_ID = 2n ** 64n - 1n;
/** Of the log that every member begins with. */
const BIRTH_TERM = 1n;

/** What a node is born with; the same on every member. @throws RaftNodeError `invalidArgument` */
export function birthRecord(members: readonly InitialMember[]): MembershipRecord {
  if (members.length > MAX_MEMBERS)
    throw invalid(`${members.length} members, at most ${MAX_MEMBERS} are allowed`);
  const owners = new Map<string, NodeId>();
  const ids = new Set<NodeId>();
  for (const { id, address } of members) {
    if (id <= 0n || id > MAX_ID) throw invalid(`${id} is no node id: ids lie in [1, ${MAX_ID}]`);
    if (ids.has(id)) throw invalid(`node ${id} is named twice`);
    if (address === "") throw invalid(`node ${id} needs an address, host:port`);
    const owner = owners.get(address);
    if (owner !== undefined) throw invalid(`nodes ${owner} and ${id} have the same address ${address}`);
    ids.add(id);
    owners.set(address, id);
  }
  const idsOf = (isLearner: boolean) =>
    members.filter(({ learner = false }) => learner === isLearner).map(({ id }) => id);
  return create(MembershipRecordSchema, {
    confState: create(ConfStateSchema, { voters: idsOf(false), learners: idsOf(true) }),
    index: BIRTH_INDEX,
    addresses: members.map(({ id, address }) => ({ id, address })),
  });
}

export async function initialize(
  runtime: Runtime,
  members: readonly InitialMember[],
  options: CallOptions | undefined,
): Promise<Membership> {
  const { id } = runtime.options;
  const record = birthRecord(members);
  const wanted = fromRecord(record);
  if (!isVoter(wanted, id)) {
    throw invalid(`this node, ${id}, is not among the voters: ask one of them, or name it`);
  }
  const { membership } = runtime.peers;
  if (membership.voters.length > 0) return requireSame(membership, wanted);
  // A node that has heard of a group, or was asked twice, waits for the membership that is on its way.
  runtime.beBorn(birthSnapshot(record));
  return nextMembership(runtime, wanted, options);
}

function nextMembership(
  runtime: Runtime,
  wanted: Membership,
  options: CallOptions | undefined,
): Promise<Membership> {
  let cancel: Cancel = () => {};
  const call = runtime.calls.open<Membership>("membership", options, {
    expired: () =>
      new RaftNodeError(
        "deadlineExceeded",
        `this node has heard of a group (term ${runtime.term}) and waits for its leader to bring it in; ` +
          "if there is no such group, empty the data folder and start it anew",
      ),
    aborted: () => new RaftNodeError("aborted", "the signal fired; the group may have begun"),
    ended: () => cancel(),
  });
  cancel = runtime.events.on("membership", ({ membership }) => {
    try {
      call.resolve(requireSame(membership, wanted));
    } catch (error) {
      call.reject(error instanceof Error ? error : new Error(String(error)));
    }
  });
  return call.promise;
}

/** As raft takes it over. */
export function birthSnapshot(record: MembershipRecord): Snapshot {
  const { confState } = record;
  const descriptor = create(SnapshotDescriptorSchema, { membership: record });
  return create(SnapshotSchema, {
    data: toBinary(SnapshotDescriptorSchema, descriptor),
    metadata: create(SnapshotMetadataSchema, {
      index: BIRTH_INDEX,
      term: BIRTH_TERM,
      ...(confState === undefined ? {} : { confState }),
    }),
  });
}

/** A group of just these members is what was asked for, whoever began it. */
function requireSame(membership: Membership, wanted: Membership): Membership {
  const ids = memberIds(membership);
  const isSame =
    ids.join() === memberIds(wanted).join() &&
    ids.every(
      (id) =>
        isVoter(membership, id) === isVoter(wanted, id) &&
        membership.addresses.get(id) === wanted.addresses.get(id),
    );
  if (isSame) return membership;
  throw refused(
    `this node belongs to a group already, of the nodes ${ids.join(", ")}: change its membership instead`,
  );
}
