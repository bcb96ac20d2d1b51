// Hostile bytes: from nothing, from a grammar (any protobuf message with its fields at their limits), and from good bytes
// gone wrong. Everything is drawn from the seed.

import { type DescField, type DescMessage, ScalarType } from "@bufbuild/protobuf";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import type { Random } from "../simulation/random.js";

const LIMITS_64 = [
  0n,
  1n,
  2n,
  3n,
  5n,
  127n,
  128n,
  2n ** 31n,
  2n ** 32n,
  2n ** 53n,
  2n ** 63n - 1n,
  2n ** 63n,
  2n ** 64n - 1n,
];
const LIMITS_32 = [0, 1, 2, 3, 127, 128, 65_535, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1];
const STRINGS = [
  "",
  "k",
  "a/b",
  "-",
  "..",
  "../../../../tmp/x",
  "/",
  "\0",
  "a\0b",
  "\r\n\r\n",
  "\uffff",
  "%00",
  "{{}}",
  "__proto__",
  "constructor",
  "127.0.0.1:1",
  "[::1]:99999",
  "localhost",
  "x".repeat(1_025),
  "é".repeat(600),
  "\ud800",
];
const MAX_DEPTH = 4;
const LARGE_BYTES = 300_000;

/** What is known of fields beyond their types, by their full names, so that the depths are reached too. */
export interface Grammar {
  /** What a field of bytes really holds. */
  readonly insides: ReadonlyMap<string, DescMessage>;
  /** What numbers mostly are, so that not every message is refused at the door. */
  readonly likely: ReadonlyMap<string, readonly bigint[]>;
}

export function randomBytes(random: Random, maxBytes: number): Buffer {
  const bytes = Buffer.alloc(random.int(0, maxBytes + 1));
  for (let at = 0; at < bytes.length; at += 1) bytes[at] = random.int(0, 256);
  return bytes;
}

/** Any bytes that a careless or a wicked program could send in place of a message of this type. */
export function anyMessage(random: Random, type: DescMessage, grammar: Grammar): Buffer {
  const whole = Buffer.from(encoded(random, type, grammar, 0));
  return random.chance(0.25) ? damaged(random, whole) : whole;
}

/** Good bytes gone wrong: flipped, cut, doubled, swapped, with something in between. */
export function damaged(random: Random, bytes: Buffer): Buffer {
  let result = Buffer.from(bytes);
  for (let times = random.int(1, 4); times > 0; times -= 1) {
    const at = random.int(0, result.length + 1);
    const to = random.int(at, result.length + 1);
    const how = random.int(0, 6);
    if (how === 0) result = result.subarray(0, at);
    else if (how === 1) result = Buffer.concat([result.subarray(0, at), result.subarray(to)]);
    else if (how === 2) result = Buffer.concat([result.subarray(0, to), result.subarray(at)]);
    else if (how === 3)
      result = Buffer.concat([result.subarray(0, at), randomBytes(random, 12), result.subarray(at)]);
    else if (at < result.length)
      result[at] =
        how === 4 ? (result[at] ?? 0) ^ (1 << random.int(0, 8)) : random.pick([0, 1, 127, 128, 255]);
  }
  return result;
}

export function anyString(random: Random): string {
  return random.chance(0.1) ? randomBytes(random, 40).toString("latin1") : random.pick(STRINGS);
}

export function anyUint64(random: Random): bigint {
  return random.chance(0.3) ? BigInt(random.int(0, 20)) : random.pick(LIMITS_64);
}

function encoded(random: Random, type: DescMessage, grammar: Grammar, depth: number): Uint8Array {
  const writer = new BinaryWriter();
  for (const field of random.chance(0.1) ? random.shuffled(type.fields) : type.fields) {
    const isKey = grammar.likely.has(`${field.parent.typeName}.${field.name}`);
    if (random.chance(isKey ? 0.02 : 0.4)) continue;
    for (let times = timesOf(random, field); times > 0; times -= 1)
      writeField(random, writer, field, grammar, depth);
  }
  if (random.chance(0.05))
    writer.tag(random.pick([1, 15, 16, 1_000, 2 ** 28]), WireType.LengthDelimited).string(anyString(random));
  return writer.finish();
}

/** A singular field that comes several times is legal, and rarely thought of. */
function timesOf(random: Random, field: DescField): number {
  if (field.fieldKind === "list" || field.fieldKind === "map") return random.int(0, 5);
  return random.chance(0.05) ? 2 : 1;
}

function writeField(
  random: Random,
  writer: BinaryWriter,
  field: DescField,
  grammar: Grammar,
  depth: number,
): void {
  const { number } = field;
  if (random.chance(0.02)) {
    // A type that the field does not have.
    writer.tag(number, WireType.Bit64).fixed64(anyUint64(random));
    return;
  }
  const inside = field.message ?? grammar.insides.get(`${field.parent.typeName}.${field.name}`);
  if (inside !== undefined) {
    if (depth < MAX_DEPTH)
      writer.tag(number, WireType.LengthDelimited).bytes(encoded(random, inside, grammar, depth + 1));
    return;
  }
  if (field.enum !== undefined) {
    const known = field.enum.values.map((value) => value.number);
    writer
      .tag(number, WireType.Varint)
      .int32(random.chance(0.9) ? random.pick(known) : random.pick([-1, 99, 2 ** 31 - 1]));
    return;
  }
  const likely = grammar.likely.get(`${field.parent.typeName}.${field.name}`);
  if (likely !== undefined && random.chance(0.9))
    writer.tag(number, WireType.Varint).uint64(random.pick(likely));
  else writeScalar(random, writer, number, field.scalar ?? ScalarType.BYTES);
}

function writeScalar(random: Random, writer: BinaryWriter, number: number, type: ScalarType): void {
  switch (type) {
    case ScalarType.UINT64:
    case ScalarType.INT64:
      writer.tag(number, WireType.Varint).uint64(anyUint64(random));
      return;
    case ScalarType.UINT32:
    case ScalarType.INT32:
      writer.tag(number, WireType.Varint).uint32(random.pick(LIMITS_32));
      return;
    case ScalarType.BOOL:
      writer.tag(number, WireType.Varint).uint32(random.int(0, 3));
      return;
    case ScalarType.FIXED32:
      writer.tag(number, WireType.Bit32).fixed32(random.pick(LIMITS_32));
      return;
    case ScalarType.STRING:
      writer.tag(number, WireType.LengthDelimited).string(anyString(random));
      return;
    default:
      writer
        .tag(number, WireType.LengthDelimited)
        .bytes(randomBytes(random, random.chance(0.01) ? LARGE_BYTES : 40));
  }
}
