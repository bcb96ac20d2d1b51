// The commands of the transcripts. Each takes node numbers first, then `key=value` options.

import {
  ConfChangeTransition,
  ConfChangeType,
  type ConfChangeV2,
  type ConfigInput,
  type Message,
  MessageType,
  type StepOutcome,
} from "../../src/core/index.js";
import type { DatadrivenCase } from "../support/datadriven.js";
import { bytes } from "../support/test-node.js";
import { renderEntry, renderProgress } from "./render.js";
import type { Stage } from "./stage.js";

type Verb = (stage: Stage, command: Arguments) => void;

/** What stands behind a command's name. */
class Arguments {
  readonly #current: DatadrivenCase;
  readonly #used = new Set<string>();

  constructor(current: DatadrivenCase) {
    this.#current = current;
  }

  /** The node numbers: arguments without a value. */
  get nodes(): bigint[] {
    return this.#current.args
      .filter(({ key, values }) => values.length === 0 && /^\d+$/.test(key))
      .map(({ key }) => BigInt(key));
  }

  /** The first node number. */
  get node(): bigint {
    const [node] = this.nodes;
    if (node === undefined) throw new Error("name a node");
    return node;
  }

  /** The words that are no number and no option: what is proposed, asked for. */
  get words(): string[] {
    return this.#current.args
      .filter(({ key, values }) => values.length === 0 && !/^\d+$/.test(key))
      .map(({ key }) => key);
  }

  has(key: string): boolean {
    this.#used.add(key);
    return this.#current.args.some((arg) => arg.key === key);
  }

  value(key: string): string | undefined {
    this.#used.add(key);
    return this.#current.args.find((arg) => arg.key === key)?.values[0];
  }

  ids(key: string): bigint[] | undefined {
    this.#used.add(key);
    return this.#current.args
      .find((arg) => arg.key === key)
      ?.values.flatMap((value) => value.split(" ").map(BigInt));
  }

  number(key: string, fallback: number): number {
    const value = this.value(key);
    return value === undefined ? fallback : Number(value);
  }

  get lines(): string[] {
    return this.#current.input.split("\n").filter((line) => line !== "");
  }
}

/** The options of `cluster` and `node`, by their names in the transcripts. */
function configOf(command: Arguments): Partial<ConfigInput> {
  const flag = (name: string): boolean | undefined => {
    const value = command.value(name);
    return value === undefined ? undefined : value === "on";
  };
  const entries: [keyof ConfigInput, unknown][] = [
    ["preVote", flag("pre-vote")],
    ["checkQuorum", flag("check-quorum")],
    ["batchAppend", flag("batch-append")],
    ["skipBcastCommit", flag("skip-bcast-commit")],
    ["stepDownOnRemoval", flag("step-down-on-removal")],
    ["disableProposalForwarding", command.value("forwarding") === "off" ? true : undefined],
    ["electionTick", optional(command, "election-tick")],
    ["maxInflightMsgs", optional(command, "max-inflight")],
    ["maxSizePerMsg", optional(command, "max-size-per-msg")],
    ["maxUncommittedSize", optional(command, "max-uncommitted")],
    ["maxCommittedSizePerReady", optional(command, "max-committed-per-ready")],
    ["maxApplyUnpersistedLogLimit", optional(command, "apply-unpersisted")],
    ["readOnlyOption", command.value("reads") === "lease" ? "leaseBased" : undefined],
    [
      "priority",
      command.value("priority") === undefined ? undefined : BigInt(command.value("priority") ?? 0),
    ],
  ];
  return Object.fromEntries(entries.filter(([, value]) => value !== undefined));
}

function optional(command: Arguments, key: string): number | undefined {
  return command.value(key) === undefined ? undefined : command.number(key, 0);
}

/** `v4` adds a voter, `l4` a learner, `r4` removes. */
function changeOf(command: Arguments): ConfChangeV2 {
  const types: Readonly<Record<string, ConfChangeType>> = {
    v: ConfChangeType.AddNode,
    l: ConfChangeType.AddLearnerNode,
    r: ConfChangeType.RemoveNode,
  };
  const changes = command.words
    .filter((word) => /^[vlr]\d+$/.test(word))
    .map((word) => ({
      $typeName: "eraftpb.ConfChangeSingle" as const,
      type: types[word.charAt(0)] ?? ConfChangeType.AddNode,
      nodeId: BigInt(word.slice(1)),
    }));
  const transitions: Readonly<Record<string, ConfChangeTransition>> = {
    auto: ConfChangeTransition.Auto,
    implicit: ConfChangeTransition.Implicit,
    explicit: ConfChangeTransition.Explicit,
  };
  const transition = transitions[command.value("transition") ?? "auto"] ?? ConfChangeTransition.Auto;
  return { $typeName: "eraftpb.ConfChangeV2", transition, changes, context: new Uint8Array(0) };
}

function report(stage: Stage, outcome: StepOutcome): void {
  if (!outcome.accepted) stage.say(`dropped: ${outcome.reason}`);
  else if (outcome.appended !== undefined) {
    stage.say(`appended at ${outcome.appended.index}/${outcome.appended.term}`);
  }
}

function matching(command: Arguments): (message: Message) => boolean {
  const type = command.value("type");
  const from = command.value("from");
  return (message) =>
    (type === undefined || MessageType[message.msgType] === type) &&
    (from === undefined || message.from === BigInt(from));
}

function allOr(stage: Stage, command: Arguments): bigint[] {
  return command.nodes.length > 0 ? command.nodes : stage.ids;
}

export const VERBS: Readonly<Record<string, Verb>> = {
  /** `cluster 1 2 3 [learners=(4)] [options]`: nodes of one birth. */
  cluster: (stage, command) => {
    const voters = command.nodes;
    const learners = command.ids("learners") ?? [];
    for (const id of [...voters, ...learners]) stage.addNode(id, { voters, learners }, configOf(command));
  },
  /** `node 4`: a blank one that waits to be added. */
  node: (stage, command) => stage.addNode(command.node, {}, configOf(command)),
  campaign: (stage, command) => stage.act(command.node, (node) => report(stage, node.campaign())),
  /** `tick 1 [times=3]`; without a node: all. */
  tick: (stage, command) => {
    for (let count = 0; count < command.number("times", 1); count += 1) {
      for (const id of allOr(stage, command)) stage.act(id, (node) => node.tick());
    }
  },
  propose: (stage, command) => {
    stage.act(command.node, (node) => report(stage, node.propose(bytes(""), bytes(command.words.join(" ")))));
  },
  /** `change 1 v4 r3 [transition=explicit]`; without changes: leave the joint configuration. */
  change: (stage, command) => {
    stage.act(command.node, (node) => report(stage, node.proposeConfChange(bytes(""), changeOf(command))));
  },
  read: (stage, command) => {
    stage.act(command.node, (node) => report(stage, node.readIndex(bytes(command.words.join(" ")))));
  },
  transfer: (stage, command) => {
    stage.act(command.node, (node) => report(stage, node.transferLeader(BigInt(command.value("to") ?? 0))));
  },
  "request-snapshot": (stage, command) => {
    stage.act(command.node, (node) => report(stage, node.requestSnapshot()));
  },
  "forget-leader": (stage, command) => stage.act(command.node, (node) => node.forgetLeader()),
  unreachable: (stage, command) => {
    stage.act(command.node, (node) => node.reportUnreachable(BigInt(command.value("peer") ?? 0)));
  },
  /** Shows a Ready and does all that it asks for at once. */
  "process-ready": (stage, command) => stage.takeReady(command.node, true),
  /** Shows a Ready and stores it; the disk has not answered yet. */
  "store-ready": (stage, command) => stage.takeReady(command.node, false),
  /** The disk answers for what was stored, or only `up-to` a Ready. */
  sync: (stage, command) => {
    stage.sync(command.node, command.number("up-to", Number.POSITIVE_INFINITY));
  },
  /** `deliver 2 3 [type=MsgAppend] [from=1]`: what is on the wire now. */
  deliver: (stage, command) => stage.deliver(allOr(stage, command), matching(command)),
  drop: (stage, command) => stage.drop(allOr(stage, command), matching(command)),
  /** Everything until it is quiet; `quiet` shows the decisions only. */
  stabilize: (stage, command) => stage.stabilize(allOr(stage, command), command.words.includes("quiet")),
  isolate: (stage, command) => stage.cut(command.node),
  heal: (stage) => stage.heal(),
  restart: (stage, command) => stage.restart(command.node),
  /** `compact 1 up-to=5` */
  compact: (stage, command) => stage.storage(command.node).compact(BigInt(command.value("up-to") ?? 0)),
  status: (stage, command) => {
    for (const id of allOr(stage, command)) {
      const { softState, hardState, applied, lastIndex } = stage.node(id).status();
      stage.say(
        `${id}: ${softState.raftState} term=${hardState.term} leader=${softState.leaderId} ` +
          `last=${lastIndex} commit=${hardState.commit} applied=${applied}`,
      );
    }
  },
  progress: (stage, command) => {
    for (const peer of stage.node(command.node).status().progress ?? []) stage.say(renderProgress(peer));
  },
  membership: (stage, command) => stage.say(stage.describeMembership(command.node)),
  log: (stage, command) => {
    for (const id of allOr(stage, command)) {
      const { log } = stage.node(id).raft;
      const entries =
        log.lastIndex() < log.firstIndex()
          ? []
          : log.slice(log.firstIndex(), log.lastIndex() + 1n, Number.POSITIVE_INFINITY, {
              canAsync: false,
              purpose: "other",
            });
      stage.say(`${id}: ${entries.map(renderEntry).join(", ") || "(no entries)"}`);
    }
  },
};

/** Runs one command and returns what it shows. */
export function runVerb(stage: Stage, current: DatadrivenCase): string {
  const verb = VERBS[current.command];
  if (verb === undefined) throw new Error(`there is no command "${current.command}"`);
  return stage.perform(() => verb(stage, new Arguments(current)));
}
