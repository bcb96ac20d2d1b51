// The commands of the confchange case files: simple, enter-joint, leave-joint. One handler goes through one file and
// keeps the membership that the earlier commands have led to.

import { create } from "@bufbuild/protobuf";
import {
  enterJoint,
  leaveJoint,
  type MembershipChange,
  simple,
} from "../../../src/core/confchange/changer.js";
import { ConfChangeError } from "../../../src/core/errors.js";
import type { Configuration } from "../../../src/core/tracker/configuration.js";
import { ProgressTracker } from "../../../src/core/tracker/progress-tracker.js";
import type { NodeId } from "../../../src/core/types.js";
import {
  type ConfChangeSingle,
  ConfChangeSingleSchema,
  ConfChangeType,
} from "../../../src/gen/eraftpb_pb.js";
import type { DatadrivenCase, DatadrivenHandler } from "../../support/datadriven.js";

export const CONFCHANGE_COMMANDS: ReadonlySet<string> = new Set(["simple", "enter-joint", "leave-joint"]);

/** New members start at the number of the command, so that the output shows since when each has been tracked. */
export function newConfChangeHandler(): DatadrivenHandler {
  const tracker = new ProgressTracker(10, Number.POSITIVE_INFINITY);
  let commandsSoFar = 0n;
  return (current) => {
    const nextIdx = commandsSoFar++;
    try {
      const { conf, changes } = carryOut(tracker, current);
      tracker.applyConf(conf, changes, nextIdx);
      return describeMembers(tracker);
    } catch (error) {
      if (error instanceof ConfChangeError) return `${error.message}\n`;
      throw error;
    }
  };
}

/** `v1 l2 r3`: node 1 becomes a voter, 2 a learner, 3 is removed. */
export function parseChanges(text: string): ConfChangeSingle[] {
  const types = {
    v: ConfChangeType.AddNode,
    l: ConfChangeType.AddLearnerNode,
    r: ConfChangeType.RemoveNode,
  };
  return text
    .split(/\s+/)
    .filter((word) => word !== "")
    .map((word) => {
      const match = /^([vlr])(\d+)$/.exec(word);
      const letter = match?.[1];
      if (letter !== "v" && letter !== "l" && letter !== "r") {
        throw new Error(
          `"${word}" is no change: v1, l1 or r1 makes node 1 a voter, a learner, or removes it`,
        );
      }
      return create(ConfChangeSingleSchema, { type: types[letter], nodeId: BigInt(match?.[2] ?? "0") });
    });
}

export function describeConfiguration(conf: Configuration): string {
  const ids = (set: Iterable<NodeId>): string => `(${[...set].join(" ")})`;
  const { incoming, outgoing } = conf.voters;
  return [
    `voters=${ids(incoming)}${outgoing.size > 0 ? `&&${ids(outgoing)}` : ""}`,
    conf.learners.size > 0 ? ` learners=${ids(conf.learners)}` : "",
    conf.learnersNext.size > 0 ? ` learners_next=${ids(conf.learnersNext)}` : "",
    conf.autoLeave ? " autoleave" : "",
  ].join("");
}

function carryOut(tracker: ProgressTracker, { command, args, input }: DatadrivenCase): MembershipChange {
  const changes = parseChanges(input);
  const unknown = args.find(({ key }) => command !== "enter-joint" || key !== "autoleave");
  if (unknown !== undefined) throw new Error(`unknown argument ${unknown.key}`);
  switch (command) {
    case "simple":
      return simple(tracker, changes);
    case "enter-joint":
      return enterJoint(tracker, toBoolean(args[0]?.values[0] ?? "false"), changes);
    case "leave-joint":
      if (changes.length > 0) throw new Error("leave-joint takes no changes");
      return leaveJoint(tracker);
    default:
      throw new Error(`unknown confchange command ${command}`);
  }
}

function describeMembers(tracker: ProgressTracker): string {
  const members = tracker.ids().map((id) => {
    const progress = tracker.get(id);
    if (progress === undefined) throw new Error(`${id} is listed and has no progress`);
    const learner = progress.isLearner ? " learner" : "";
    return `${id}: State${progress.state} match=${progress.matched} next=${progress.nextIdx}${learner}\n`;
  });
  return `${describeConfiguration(tracker.conf)}\n${members.join("")}`;
}

function toBoolean(text: string): boolean {
  if (text !== "true" && text !== "false") throw new Error(`autoleave is true or false, not ${text}`);
  return text === "true";
}
