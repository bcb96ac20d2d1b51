// The commands of the quorum case files: committed, group_committed, vote. Every result is also computed in other
// ways, and a difference is printed, so that each case checks more than its own line.

import { JointConfig } from "../../../src/core/quorum/joint.js";
import {
  type AckedIndex,
  type CommittedIndex,
  INFINITE_INDEX,
  MajorityConfig,
} from "../../../src/core/quorum/majority.js";
import type { VoteResult } from "../../../src/core/quorum/vote-result.js";
import { minOf, type NodeId } from "../../../src/core/types.js";
import type { DatadrivenCase } from "../../support/datadriven.js";
import { naiveCommittedIndex } from "./naive-quorum.js";

export const QUORUM_COMMANDS: ReadonlySet<string> = new Set(["committed", "group_committed", "vote"]);

export function quorumCommand(current: DatadrivenCase): string {
  const setup = readSetup(current);
  if (typeof setup === "string") return setup;
  switch (current.command) {
    case "committed":
      return `${describe(setup)}${committed(setup)}`;
    case "group_committed":
      return committedInGroups(setup);
    case "vote":
      return voted(setup);
    default:
      throw new Error(`unknown quorum command ${current.command}`);
  }
}

interface Setup {
  readonly incoming: MajorityConfig;
  readonly outgoing: MajorityConfig;
  /** `cfgj` was given, be it as `zero`. */
  readonly joint: boolean;
  readonly acks: ReadonlyMap<NodeId, AckedIndex>;
  readonly votes: ReadonlyMap<NodeId, boolean>;
}

/** Values are listed in the order in which the voters appear in cfg and then cfgj, each voter once. */
function readSetup({ command, args }: DatadrivenCase): Setup | string {
  const given = new Map(args.map(({ key, values }) => [key, values]));
  const valueKeys = command === "vote" ? ["votes"] : command === "committed" ? ["idx"] : ["idx", "gid"];
  for (const { key } of args) {
    if (!["cfg", "cfgj", ...valueKeys].includes(key)) throw new Error(`unknown argument ${key}`);
  }
  const incoming = (given.get("cfg") ?? []).map(toUint);
  const joint = given.get("cfgj");
  if (joint?.includes("zero") === true && joint.length > 1) throw new Error("cfgj=zero stands alone");
  const outgoing = joint === undefined || joint[0] === "zero" ? [] : joint.map(toUint);
  const voters = [...new Set([...incoming, ...outgoing])];

  for (const key of valueKeys) {
    const count = given.get(key)?.length ?? 0;
    if (count !== voters.length) {
      return `error: mismatched input (explicit or _) for voters [${voters.join(" ")}]: ${count} in ${key}\n`;
    }
  }
  const wordAt = (key: string, position: number): string => given.get(key)?.[position] ?? "_";
  const acks = new Map<NodeId, AckedIndex>();
  const votes = new Map<NodeId, boolean>();
  for (const [position, id] of voters.entries()) {
    const index = wordAt("idx", position);
    if (index === "0") throw new Error("an unknown index is written _, not 0");
    if (index !== "_") {
      const groupId = wordAt("gid", position);
      acks.set(id, { index: toUint(index), groupId: groupId === "_" ? 0n : toUint(groupId) });
    }
    const vote = wordAt("votes", position);
    if (!["y", "n", "_"].includes(vote)) throw new Error(`a vote is y, n or _, not ${vote}`);
    if (vote !== "_") votes.set(id, vote === "y");
  }
  return {
    incoming: new MajorityConfig(incoming),
    outgoing: new MajorityConfig(outgoing),
    joint: joint !== undefined,
    acks,
    votes,
  };
}

function committed(setup: Setup): string {
  const { incoming, outgoing, joint, acks } = setup;
  const indexOf = (config: Decider, of = acks): bigint =>
    config.committedIndex(false, (id) => of.get(id)).index;
  const decider = joint ? new JointConfig(incoming, outgoing) : incoming;
  const index = indexOf(decider);
  const others: [string, bigint][] = [
    ["via the allocation-free path", decider.majorityIndex((id) => acks.get(id)?.index ?? 0n)],
    ["via symmetry", indexOf(new JointConfig(outgoing, incoming))],
    ["via alternative computation", naiveOfBoth(setup, false).index],
  ];
  if (!joint) {
    others.push(["via zero-joint quorum", indexOf(new JointConfig(incoming, new MajorityConfig()))]);
    others.push(["via self-joint quorum", indexOf(new JointConfig(incoming, incoming))]);
    // Whoever is below the result already cannot change it by falling back further.
    for (const [id, acked] of acks) {
      if (acked.index >= index) continue;
      for (const lower of [acked.index - 1n, 0n]) {
        const overlaid = new Map(acks).set(id, { ...acked, index: lower });
        others.push([`overlaying ${acked.index}->${lower}`, indexOf(incoming, overlaid)]);
      }
    }
  }
  return `${differences(index, others, indexText)}${indexText(index)}\n`;
}

type Decider = MajorityConfig | JointConfig;

function committedInGroups(setup: Setup): string {
  const { incoming, outgoing, joint, acks } = setup;
  const resultOf = (config: Decider): CommittedIndex => config.committedIndex(true, (id) => acks.get(id));
  const result = resultOf(joint ? new JointConfig(incoming, outgoing) : incoming);
  const others: [string, CommittedIndex][] = [
    ["via symmetry", resultOf(new JointConfig(outgoing, incoming))],
    ["via alternative computation", naiveOfBoth(setup, true)],
  ];
  const text = (value: CommittedIndex): string => indexText(value.index);
  const flags = others
    .filter(([, other]) => other.usedGroupCommit !== result.usedGroupCommit)
    .map(([how]) => `${String(!result.usedGroupCommit)} <-- group commit ${how}\n`);
  return `${differences(result, others, text)}${flags.join("")}${text(result)}\n`;
}

function naiveOfBoth({ incoming, outgoing, acks }: Setup, useGroupCommit: boolean): CommittedIndex {
  const halves = [incoming, outgoing].map((half) =>
    naiveCommittedIndex(
      [...half].map((id) => acks.get(id)),
      useGroupCommit,
    ),
  );
  return {
    index: halves.map((half) => half.index).reduce(minOf),
    usedGroupCommit: halves.every((half) => half.usedGroupCommit),
  };
}

function voted({ incoming, outgoing, joint, votes }: Setup): string {
  const resultOf = (config: Decider): VoteResult => config.voteResult((id) => votes.get(id));
  const result = resultOf(joint ? new JointConfig(incoming, outgoing) : incoming);
  const others: [string, VoteResult][] = [["via symmetry", resultOf(new JointConfig(outgoing, incoming))]];
  const text = (value: VoteResult): string =>
    ({ pending: "VotePending", lost: "VoteLost", won: "VoteWon" })[value];
  return `${differences(result, others, text)}${text(result)}\n`;
}

function differences<T>(
  result: T,
  others: readonly (readonly [string, T])[],
  text: (value: T) => string,
): string {
  return others
    .filter(([, other]) => text(other) !== text(result))
    .map(([how, other]) => `${text(other)} <-- ${how}\n`)
    .join("");
}

/** A bar chart: the i-th largest index has a bar of i, and equal indexes share the bar's end. */
function describe({ incoming, outgoing, joint, acks }: Setup): string {
  const voters = joint ? new JointConfig(incoming, outgoing).ids() : incoming.ids();
  if (voters.length === 0) return "<empty majority quorum>";
  const indexOf = (id: NodeId): bigint => acks.get(id)?.index ?? 0n;
  const ascending = [...voters].sort((a, b) => Number(indexOf(a) - indexOf(b)));
  const barOf = (id: NodeId): number => {
    const rank = ascending.indexOf(id);
    const below = ascending[rank - 1];
    return below !== undefined && indexOf(below) < indexOf(id) ? rank : 0;
  };
  const width = voters.length;
  const rows = voters.map((id) => {
    const bar = acks.has(id) ? `${"x".repeat(barOf(id))}>`.padEnd(width + 1) : `?${" ".repeat(width)}`;
    return `${bar} ${String(indexOf(id)).padStart(5)}    (id=${id})\n`;
  });
  return `${" ".repeat(width)}    idx\n${rows.join("")}`;
}

function indexText(index: bigint): string {
  return index === INFINITE_INDEX ? "∞" : String(index);
}

function toUint(text: string): bigint {
  if (!/^\d+$/.test(text)) throw new Error(`"${text}" is no whole number`);
  return BigInt(text);
}
