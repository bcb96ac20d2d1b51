// Replaces a member by a new node without ever being a vote short: the new one first learns, then votes, then the old
// one goes. Each step looks at what is there, so that a replacement that was cut short is finished by repeating it.

import { setTimeout as sleep } from "node:timers/promises";
import type { ClusterMembers, PlacementClient } from "../placement/client.js";
import { PlacementError } from "../placement/client-error.js";
import { CommandError, ExitStatus } from "./exit-status.js";

export interface Replacement {
  readonly oldId: bigint;
  readonly newId: bigint;
  readonly address: string;
  /** How long the new node may take to catch up. */
  readonly waitMs: number;
}

export interface ReplaceObserver {
  /** A step is done: a sentence without a full stop. */
  done(step: string): void;
  /** What is being waited for. */
  waiting(for_: string): void;
}

const LOOK_EVERY_MS = 250;

/** @throws PlacementError of the step that failed; CommandError when the new node does not catch up in time */
export async function replaceMember(
  client: PlacementClient,
  replacement: Replacement,
  observer: ReplaceObserver,
): Promise<ClusterMembers> {
  const { oldId, newId, address } = replacement;
  let members: ClusterMembers = await client.members();
  const isMember = (id: bigint): boolean => members.members.some((member) => member.id === id);
  const newcomer = members.members.find(({ id }) => id === newId);
  if (newcomer === undefined) {
    if (!isMember(oldId)) {
      throw new CommandError(ExitStatus.failed, `node ${oldId} is no member: there is nothing to replace`);
    }
    members = await client.addLearner(newId, address);
    observer.done(`node ${newId} is added as a learner at ${address}`);
  } else if (newcomer.address !== address) {
    throw new CommandError(
      ExitStatus.failed,
      `node ${newId} is a member already, at ${newcomer.address}: choose an id that no node of this cluster ever had`,
    );
  }
  if (newcomer === undefined || newcomer.learner) {
    members = await promoteWhenReady(client, replacement, observer);
    observer.done(`node ${newId} has caught up and is a voter`);
  }
  if (isMember(oldId)) {
    if ((await client.leader()).id === oldId) {
      await client.transfer(newId);
      observer.done(`node ${newId} leads in place of node ${oldId}`);
    }
    members = await client.remove(oldId);
    observer.done(`node ${oldId} is removed: stop it, and never start it again`);
  }
  return members;
}

/** The leader refuses while the learner lags: asking it is the surest way to know. */
async function promoteWhenReady(
  client: PlacementClient,
  { newId, waitMs }: Replacement,
  observer: ReplaceObserver,
): Promise<ClusterMembers> {
  const untilMs = performance.now() + waitMs;
  for (;;) {
    try {
      return await client.promote(newId);
    } catch (error) {
      if (!(error instanceof PlacementError) || error.reason !== "membershipRefused") throw error;
      observer.waiting(error.message);
      if (performance.now() >= untilMs) {
        throw new CommandError(
          ExitStatus.failed,
          `node ${newId} did not catch up within ${waitMs} ms (${error.message}); it stays a learner, and nothing was removed: repeat this command to go on`,
          "learnerLags",
        );
      }
      await sleep(LOOK_EVERY_MS);
    }
  }
}
