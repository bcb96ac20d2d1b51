// `placement-center status`: what every node knows about itself, also nodes that were not named but are members.

import { setTimeout as sleep } from "node:timers/promises";
import { Command, Option } from "commander";
import type { MetricsResponse } from "../../gen/service_pb.js";
import type { PlacementClient } from "../../placement/client.js";
import { addClientOptions, type ClientOptions, parseCount } from "../arguments.js";
import { toCommandError, withClient } from "../client-session.js";
import { askNodes, hasAnswered } from "../doctor/ask-nodes.js";
import { CommandError, ExitStatus } from "../exit-status.js";
import { formatTable, type Output, toJsonLine } from "../output.js";
import { listenForStop } from "../processes/stop-signals.js";
import { roleName } from "../roles.js";

interface StatusOptions extends ClientOptions {
  readonly watch?: boolean;
  readonly intervalMs: number;
}

type NodeAnswer =
  | { readonly endpoint: string; readonly metrics: MetricsResponse }
  | { readonly endpoint: string; readonly problem: string };

const DEFAULT_INTERVAL_MS = 1_000;
const MAX_INTERVAL_MS = 600_000;
/** Before a node that does not answer is asked again. */
const ASK_AGAIN_MS = 1_000;

export function statusCommand(output: Output): Command {
  return addClientOptions(
    new Command("status")
      .summary("show what every node knows about itself")
      .description(
        "Ask every endpoint, and every member that an endpoint knows, for its role, term, log and members. With --json one object per node and line.",
      )
      .option("--watch", "go on: a line whenever something has changed on a node, until Ctrl-C")
      .addOption(
        new Option("--interval-ms <milliseconds>", "with --watch: at most one line per node in this time")
          .default(DEFAULT_INTERVAL_MS)
          .argParser((text: string) => parseCount(text, 100, MAX_INTERVAL_MS)),
      ),
  ).action(async (options: StatusOptions) => {
    const answers = (await askNodes(options)).map((asked): NodeAnswer => {
      const { endpoint } = asked;
      return hasAnswered(asked) ? { endpoint, metrics: asked.metrics } : { endpoint, problem: asked.why };
    });
    if (answers.every((answer) => "problem" in answer)) {
      if (options.json === true) for (const answer of answers) output.line(toJson(answer));
      throw new CommandError(
        ExitStatus.unavailable,
        `no node answered: is one running at ${options.endpoints.join(", ")}?\n${answers.map(problemText).join("\n")}`,
      );
    }
    if (options.watch === true) return watch(answers, options, output);
    for (const line of options.json ? answers.map(toJson) : toTable(answers)) output.line(line);
  });
}

/** Until Ctrl-C. */
async function watch(answers: readonly NodeAnswer[], options: StatusOptions, output: Output): Promise<void> {
  const stop = listenForStop();
  const width = Math.max(...answers.map(({ endpoint }) => endpoint.length));
  const tell = (answer: NodeAnswer): void => {
    output.line(options.json === true ? toJson(answer) : toLine(answer, width));
  };
  try {
    await withClient(options, (client) =>
      Promise.all(answers.map(({ endpoint }) => watchNode(client, endpoint, options, stop.first, tell))),
    );
  } finally {
    stop.release();
  }
}

async function watchNode(
  client: PlacementClient,
  endpoint: string,
  { intervalMs }: StatusOptions,
  signal: AbortSignal,
  tell: (answer: NodeAnswer) => void,
): Promise<void> {
  let isSilent = false;
  while (!signal.aborted) {
    let problem = "the node ended the watch";
    try {
      for await (const metrics of client.watchMetrics(endpoint, { intervalMs, signal })) {
        isSilent = false;
        tell({ endpoint, metrics });
      }
    } catch (error) {
      const known = toCommandError(error);
      problem = known instanceof Error ? known.message : String(known);
    }
    if (signal.aborted) return;
    // Told once, and then only when it is over.
    if (!isSilent) tell({ endpoint, problem });
    isSilent = true;
    await sleep(ASK_AGAIN_MS, undefined, { signal }).catch(() => undefined);
  }
}

const NUMBERS = ["id", "term", "leader", "first", "last", "commit", "applied", "snapshot"];

function cellsOf({ metrics }: { readonly metrics: MetricsResponse }): string[] {
  return [
    String(metrics.id),
    roleName(metrics.role),
    String(metrics.term),
    metrics.leaderId === 0n ? "none" : String(metrics.leaderId),
    String(metrics.firstIndex),
    String(metrics.lastIndex),
    String(metrics.commit),
    String(metrics.applied),
    String(metrics.snapshotIndex),
    metrics.version,
  ];
}

function toTable(answers: readonly NodeAnswer[]): string[] {
  const rows = answers.map((answer) =>
    "problem" in answer ? [answer.endpoint, "", "no answer"] : [answer.endpoint, ...cellsOf(answer)],
  );
  const heading = ["endpoint", "id", "role", ...NUMBERS.slice(1), "version"];
  const table = formatTable(heading, rows, new Set(NUMBERS));
  const problems = answers.flatMap((answer) => ("problem" in answer ? [answer.problem] : []));
  return problems.length === 0 ? table : [...table, "", ...problems];
}

/** One of many below each other, which cannot be aligned as a table is. */
function toLine(answer: NodeAnswer, width: number): string {
  const endpoint = answer.endpoint.padEnd(width);
  if ("problem" in answer) return `${endpoint}  no answer: ${answer.problem}`;
  const { id, role, term, leaderId, lastIndex, commit, applied } = answer.metrics;
  const leader = leaderId === 0n ? "none" : String(leaderId);
  return `${endpoint}  node ${id}  ${roleName(role)}  term ${term}  leader ${leader}  last ${lastIndex}  commit ${commit}  applied ${applied}`;
}

function problemText(answer: NodeAnswer): string {
  return "problem" in answer ? answer.problem : "";
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
