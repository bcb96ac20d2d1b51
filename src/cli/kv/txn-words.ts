// The words of a transaction on a command line: what must hold, and what is to be done.

import { InvalidArgumentError } from "commander";
import type { TxnCompare, TxnStep } from "../../placement/client-kv.js";

const RELATIONS = { "=": "equal", "!=": "notEqual", "<": "less", ">": "greater" } as const;
const COMPARE_EXAMPLES =
  '"KEY exists", "KEY missing", "KEY value = TEXT", "KEY mod = 7", "KEY version > 2" or "KEY created < 9"';
const STEP_EXAMPLES = '"put KEY VALUE", "delete KEY", "get KEY" or "range PREFIX"';

/** `stock value = full`. Keys with spaces cannot be said here. @throws InvalidArgumentError */
export function parseCompare(text: string): TxnCompare {
  const [, key = "", presence] = /^(\S+) (exists|missing)$/.exec(text) ?? [];
  if (presence !== undefined) return { key, exists: presence === "exists" };
  const [, name = "", target, sign, operand = ""] =
    /^(\S+) (value|mod|version|created) (=|!=|<|>) ([\s\S]*)$/.exec(text) ?? [];
  const relation = isSign(sign) ? RELATIONS[sign] : undefined;
  if (target === "value" && relation !== undefined) return { key: name, relation, value: operand };
  if (target !== undefined && relation !== undefined && /^\d{1,19}$/.test(operand)) {
    const number = BigInt(operand);
    if (target === "mod") return { key: name, relation, modRevision: number };
    return target === "version"
      ? { key: name, relation, version: number }
      : { key: name, relation, createRevision: number };
  }
  throw new InvalidArgumentError(`Write ${COMPARE_EXAMPLES}.`);
}

/** `put stock full`. @throws InvalidArgumentError */
export function parseStep(text: string): TxnStep {
  const [, key = "", value = ""] = /^put (\S+) ([\s\S]*)$/.exec(text) ?? [];
  if (key !== "") return { kind: "set", key, value };
  const [, verb, operand = ""] = /^(delete|get|range) (\S+)$/.exec(text) ?? [];
  if (verb === "delete" || verb === "get") return { kind: verb, key: operand };
  if (verb === "range") return { kind: "range", keys: { prefix: operand } };
  throw new InvalidArgumentError(`Write ${STEP_EXAMPLES}.`);
}

function isSign(sign: string | undefined): sign is keyof typeof RELATIONS {
  return sign !== undefined && sign in RELATIONS;
}
