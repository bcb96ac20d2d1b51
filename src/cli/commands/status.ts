// `placement-center status`: what every node that was named knows about itself.

import { Command } from "commander";
import type { MetricsResponse } from "../../gen/service_pb.js";
import { addClientOptions, type ClientOptions } from "../arguments.js";
import { toCommandError, withClient } from "../client-session.js";
import { CommandError, ExitStatus } from "../exit-status.js";
import { formatTable, type Output, toJsonLine } from "../output.js";
import { roleName } from "../roles.js";

type NodeAnswer =
  | { readonly endpoint: string; readonly metrics: MetricsResponse }
  | { readonly endpoint: string; readonly problem: string };

const NODE_DEADLINE_MS = 2_000;

export function statusCommand(output: Output): Command {
  return addClientOptions(
    new Command("status")
      .summary("show what every node knows about itself")
      .description(
        "Ask every endpoint for its role, term, log and members. With --json one object per endpoint and line.",
      ),
  ).action(async (options: ClientOptions) => {
    // One node that is down shall not hold up what the others have to say.
    const deadlineMs = Math.min(options.deadlineMs, NODE_DEADLINE_MS);
    const answers = await withClient(options, (client) =>
      Promise.all(
        options.endpoints.map((endpoint) =>
          client.metrics(endpoint, { deadlineMs }).then(
            (metrics): NodeAnswer => ({ endpoint, metrics }),
            (error): NodeAnswer => ({ endpoint, problem: problemOf(error) }),
          ),
        ),
      ),
    );
    for (const line of options.json ? answers.map(toJson) : toTable(answers)) output.line(line);
    if (answers.every((answer) => "problem" in answer)) {
      throw new CommandError(
        ExitStatus.unavailable,
        `no node answered: is one running at ${options.endpoints.join(", ")}?`,
      );
    }
  });
}

function problemOf(error: unknown): string {
  const known = toCommandError(error);
  return known instanceof Error ? known.message : String(known);
}

const NUMBERS = ["id", "term", "leader", "first", "last", "commit", "applied", "snapshot"];

function toTable(answers: readonly NodeAnswer[]): string[] {
  const rows = answers.map((answer) => {
    if ("problem" in answer) return [answer.endpoint, "", "no answer"];
    const { metrics } = answer;
    return [
      answer.endpoint,
      String(metrics.id),
      roleName(metrics.role),
      String(metrics.term),
      metrics.leaderId === 0n ? "none" : String(metrics.leaderId),
      String(metrics.firstIndex),
      String(metrics.lastIndex),
      String(metrics.commit),
      String(metrics.applied),
      String(metrics.snapshotIndex),
    ];
  });
  const heading = ["endpoint", "id", "role", ...NUMBERS.slice(1)];
  const table = formatTable(heading, rows, new Set(NUMBERS));
  const problems = answers.flatMap((answer) => ("problem" in answer ? [answer.problem] : []));
  return problems.length === 0 ? table : [...table, "", ...problems];
}

function toJson(answer: NodeAnswer): string {
  if ("problem" in answer) return toJsonLine(answer);
  const { $typeName, $unknown, role, membership, peers, ...numbers } = answer.metrics;
  return toJsonLine({
    endpoint: answer.endpoint,
    ...numbers,
    role: roleName(role),
    members: membership?.members.map(({ id, address, learner }) => ({ id, address, learner })) ?? [],
    peers: peers.map(({ $typeName: _type, $unknown: _rest, ...peer }) => peer),
  });
}
