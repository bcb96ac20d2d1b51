// Asks every named node for the same thing, and shows what each has answered: nodes that fail do not hide the others.

import type { PlacementClient } from "../placement/client.js";
import type { ClientOptions } from "./arguments.js";
import { toCommandError, withClient } from "./client-session.js";
import { CommandError, ExitStatus } from "./exit-status.js";
import { formatTable, type Output, toJsonLine } from "./output.js";
import { progressOn } from "./progress.js";

export interface NodeQuestion<Answer extends object> {
  ask(client: PlacementClient, endpoint: string): Promise<Answer>;
  /** Numbers, all of them. */
  readonly columns: readonly string[];
  row(answer: Answer): readonly string[];
}

const PRESENCE_DEADLINE_MS = 2_000;

type Asked<Answer> =
  | { readonly endpoint: string; readonly answer: Answer }
  | { readonly endpoint: string; readonly problem: CommandError };

/**
 * One after the other. Ends with status 1 if some have failed.
 * @throws CommandError of the first when all have failed
 */
export async function atEachEndpoint<Answer extends object>(
  options: ClientOptions,
  output: Output,
  end: (status: ExitStatus) => void,
  question: NodeQuestion<Answer>,
): Promise<void> {
  const progress = progressOn();
  const asked = await withClient(options, async (client) => {
    const all: Asked<Answer>[] = [];
    for (const [at, endpoint] of options.endpoints.entries()) {
      progress.show(`${endpoint}: ${at} of ${options.endpoints.length} nodes are done`);
      all.push(await askOne(client, endpoint, options, question));
    }
    return all;
  }).finally(() => progress.clear());
  const problems = asked.flatMap((one) => ("problem" in one ? [one.problem] : []));
  const [problem] = problems;
  if (problem !== undefined && problems.length === asked.length) throw problem;
  for (const line of options.json === true ? toJson(asked) : toTable(asked, question)) output.line(line);
  if (problem !== undefined) end(ExitStatus.failed);
}

async function askOne<Answer extends object>(
  client: PlacementClient,
  endpoint: string,
  { deadlineMs }: ClientOptions,
  question: NodeQuestion<Answer>,
): Promise<Asked<Answer>> {
  try {
    // The work may take long; that nobody is there shows at once.
    await client.metrics(endpoint, { deadlineMs: Math.min(deadlineMs, PRESENCE_DEADLINE_MS) });
    return { endpoint, answer: await question.ask(client, endpoint) };
  } catch (error) {
    const problem = toCommandError(error);
    if (problem instanceof CommandError) return { endpoint, problem };
    throw error;
  }
}

function toTable<Answer extends object>(
  asked: readonly Asked<Answer>[],
  { columns, row }: NodeQuestion<Answer>,
): string[] {
  const rows = asked.map((one) =>
    "problem" in one ? [one.endpoint, "failed"] : [one.endpoint, ...row(one.answer)],
  );
  const problems = asked.flatMap((one) => ("problem" in one ? [one.problem.message] : []));
  const table = formatTable(["endpoint", ...columns], rows, new Set(columns));
  return problems.length === 0 ? table : [...table, "", ...problems];
}

function toJson<Answer extends object>(asked: readonly Asked<Answer>[]): string[] {
  return asked.map((one) =>
    toJsonLine(
      "problem" in one
        ? { endpoint: one.endpoint, problem: one.problem.message, reason: one.problem.reason }
        : { endpoint: one.endpoint, ...one.answer },
    ),
  );
}
