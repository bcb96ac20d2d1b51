// `placement-center txn`: several changes at once, if something holds.

import { Command } from "commander";
import type { TxnCompare, TxnStep, TxnStepResult } from "../../placement/client-kv.js";
import { addClientOptions, type ClientOptions } from "../arguments.js";
import { withClient } from "../client-session.js";
import { CommandError, ExitStatus } from "../exit-status.js";
import { entryLine, entryToJson } from "../kv/show-entry.js";
import { parseCompare, parseStep } from "../kv/txn-words.js";
import { type Output, toJsonLine } from "../output.js";

interface TxnOptions extends ClientOptions {
  readonly if?: readonly TxnCompare[];
  readonly then?: readonly TxnStep[];
  readonly else?: readonly TxnStep[];
}

export function txnCommand(output: Output, end: (status: ExitStatus) => void): Command {
  const collect =
    <Value>(parse: (text: string) => Value) =>
    (text: string, before: readonly Value[] | undefined): readonly Value[] => [
      ...(before ?? []),
      parse(text),
    ];
  return addClientOptions(
    new Command("txn")
      .summary("compare, and change several keys at once")
      .description(
        "Do every --then if every --if holds, otherwise every --else: all at one revision, or nothing. Status 6 when not every --if held. Each of these may be repeated.",
      )
      .option(
        "--if <condition>",
        '"KEY exists", "KEY missing", "KEY value = TEXT", "KEY mod = 7"',
        collect(parseCompare),
      )
      .option("--then <step>", '"put KEY VALUE", "delete KEY", "get KEY", "range PREFIX"', collect(parseStep))
      .option("--else <step>", "the same", collect(parseStep)),
  ).action(async (options: TxnOptions) => {
    const { if: compare = [], then: success = [], else: failure = [] } = options;
    if (success.length + failure.length === 0) {
      throw new CommandError(ExitStatus.usage, "say what is to be done: --then, --else or both");
    }
    const { succeeded, revision, results } = await withClient(options, (client) =>
      client.txn({ compare, success, failure }),
    );
    if (!succeeded) end(ExitStatus.refused);
    if (options.json === true) {
      output.line(toJsonLine({ succeeded, revision, results: results.map(resultToJson) }));
      return;
    }
    const steps = succeeded ? success : failure;
    output.line(`${succeeded ? "every condition held" : "not every condition held"}; revision ${revision}`);
    for (const [at, result] of results.entries()) {
      for (const line of resultLines(steps[at], result)) output.line(line);
    }
  });
}

function resultLines(step: TxnStep | undefined, result: TxnStepResult): string[] {
  const key = step !== undefined && "key" in step ? step.key : "";
  switch (result.kind) {
    case "set":
      return [`${key}: written`];
    case "delete":
      return [result.deleted ? `${key}: deleted` : `${key}: no such key`];
    case "get":
      return [result.entry === undefined ? `${key}: no such key` : entryLine(result.entry)];
    case "range":
      return [...result.entries.map((entry) => entryLine(entry)), ...(result.more ? ["and more"] : [])];
  }
}

function resultToJson(result: TxnStepResult): object {
  switch (result.kind) {
    case "set":
    case "delete":
      return result;
    case "get":
      return {
        kind: "get",
        entry: result.entry === undefined ? null : entryToJson(result.entry.key, result.entry),
      };
    case "range": {
      const entries = result.entries.map((entry) => entryToJson(entry.key, entry));
      return { kind: "range", entries, more: result.more };
    }
  }
}
