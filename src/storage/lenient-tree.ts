// Reads the records of one B+tree of an LMDB file and goes on past whatever is damaged in it: for tools that look at
// a file. A node believes nothing before lmdb-verify.ts has found the whole file intact.

import { type LmdbFile, readPlainTreeInfo, TREE_INFO_BYTES, type TreeInfo } from "./lmdb-file.js";
import {
  BIG_DATA_FLAG,
  BRANCH_FLAG,
  childPage,
  LEAF_FLAG,
  MAX_TREE_DEPTH,
  NODE_HEADER_BYTES,
  nodeFlags,
  nodeKeyBytes,
  nodeOffset,
  nodeValueBytes,
  OVERFLOW_FLAG,
  OVERFLOW_REFERENCE_BYTES,
  overflowPageCount,
  PAGE_HEADER_BYTES,
  SUB_TREE_FLAG,
} from "./lmdb-page.js";
import { PageSet } from "./page-set.js";

/** What was found, in key order. The buffers are only valid until the next item is asked for. */
export type TreeItem =
  | { readonly kind: "value"; readonly key: Buffer; readonly value: Buffer }
  | { readonly kind: "tree"; readonly key: Buffer; readonly info: TreeInfo }
  /** Something is lost here: a page, a value, a node. */
  | { readonly kind: "damage"; readonly place: string; readonly problem: string };

/** Both ends included; parts of the tree that lie outside are not read, but items outside may still come. */
export interface KeySpan {
  readonly from: Buffer;
  readonly to: Buffer;
}

/** Never throws over what the file contains. @throws errors of the file system */
export function* readTreeLeniently(file: LmdbFile, info: TreeInfo, span?: KeySpan): Generator<TreeItem> {
  if (info.root === undefined) return;
  const filePages = Math.floor(file.fileBytes / file.meta.pageBytes);
  const seen = new PageSet(Math.min(file.meta.lastPage, filePages - 1));
  yield* walk({ file, seen, span }, info.root, 0);
}

interface Walk {
  readonly file: LmdbFile;
  readonly seen: PageSet;
  readonly span: KeySpan | undefined;
}

function* walk(walking: Walk, number: number, depth: number): Generator<TreeItem> {
  const place = `page ${number}`;
  if (depth >= MAX_TREE_DEPTH) return yield damage(place, "the tree is deeper than any tree can be");
  const page = readPage(walking, number, 1);
  if (typeof page === "string") return yield damage(place, page);
  const flags = page.readUInt16LE(18);
  const count = page.readUInt16LE(20) >> 1;
  if (flags !== LEAF_FLAG && flags !== BRANCH_FLAG) {
    return yield damage(place, `it is of no known kind (flags ${flags})`);
  }
  if (PAGE_HEADER_BYTES + 2 * count > page.length) {
    return yield damage(place, `it cannot hold ${count} nodes`);
  }
  for (let at = 0; at < count; at += 1) {
    const node = nodeAt(page, at);
    const key = node === undefined ? undefined : keyAt(page, node);
    if (node === undefined || key === undefined) yield damage(place, `node ${at} reaches beyond the page`);
    else if (flags === LEAF_FLAG) yield readLeafNode(walking, page, node, key, place);
    else if (isWanted(walking.span, at === 0 ? undefined : key, nextKey(page, at, count))) {
      yield* walk(walking, childPage(page, node), depth + 1);
    }
  }
}

/** The page, or why there is none. */
function readPage({ file, seen }: Walk, number: number, count: number): Buffer | string {
  for (let page = number; page < number + count; page += 1) {
    const problem = seen.add(page);
    if (problem !== undefined) return problem;
  }
  // A page of its own for each: a branch is still needed when its children have been read.
  const page = Buffer.allocUnsafe(count * file.meta.pageBytes);
  file.readPages(number, count, page);
  const marked = page.readBigUInt64LE(0);
  return marked === BigInt(number) ? page : `it is marked as page ${marked}`;
}

function readLeafNode(walking: Walk, page: Buffer, node: number, key: Buffer, place: string): TreeItem {
  const flags = nodeFlags(page, node);
  const valueAt = node + NODE_HEADER_BYTES + key.length;
  const valueBytes = nodeValueBytes(page, node);
  const inPage = flags === BIG_DATA_FLAG ? OVERFLOW_REFERENCE_BYTES : valueBytes;
  if (valueAt + inPage > page.length) return damage(nameOf(key), "its value reaches beyond the page");
  if (flags === 0) return { kind: "value", key, value: page.subarray(valueAt, valueAt + valueBytes) };
  if (flags === BIG_DATA_FLAG) {
    const value = readOverflow(walking, page, valueAt, valueBytes);
    return typeof value === "string" ? damage(nameOf(key), value) : { kind: "value", key, value };
  }
  if (flags !== SUB_TREE_FLAG || valueBytes !== TREE_INFO_BYTES) {
    return damage(place, `a node is of no known kind (flags ${flags})`);
  }
  try {
    return { kind: "tree", key, info: readPlainTreeInfo(page, valueAt, walking.file.file, place) };
  } catch (error) {
    return damage(nameOf(key), error instanceof Error ? error.message : String(error));
  }
}

function readOverflow(walking: Walk, page: Buffer, at: number, valueBytes: number): Buffer | string {
  const count = overflowPageCount(valueBytes, walking.file.meta.pageBytes);
  const first = page.readBigUInt64LE(at);
  if (page.readBigUInt64LE(at + 16) !== BigInt(count) || first > BigInt(Number.MAX_SAFE_INTEGER)) {
    return `a value of ${valueBytes} bytes cannot take the pages it claims`;
  }
  const pages = readPage(walking, Number(first), count);
  if (typeof pages === "string") return `page ${first}: ${pages}`;
  if (pages.readUInt16LE(18) !== OVERFLOW_FLAG) return `page ${first} does not begin a value`;
  return pages.subarray(PAGE_HEADER_BYTES, PAGE_HEADER_BYTES + valueBytes);
}

function nodeAt(page: Buffer, at: number): number | undefined {
  const node = nodeOffset(page, at);
  return node + NODE_HEADER_BYTES <= page.length ? node : undefined;
}

function keyAt(page: Buffer, node: number): Buffer | undefined {
  const start = node + NODE_HEADER_BYTES;
  const end = start + nodeKeyBytes(page, node);
  return end <= page.length ? page.subarray(start, end) : undefined;
}

function nextKey(page: Buffer, at: number, count: number): Buffer | undefined {
  const node = at + 1 < count ? nodeAt(page, at + 1) : undefined;
  return node === undefined ? undefined : keyAt(page, node);
}

/** A child holds the keys from `first` on, before `next`; undefined: from the beginning, to the end. */
function isWanted(span: KeySpan | undefined, first: Buffer | undefined, next: Buffer | undefined): boolean {
  if (span === undefined) return true;
  if (first !== undefined && first.compare(span.to) > 0) return false;
  return next === undefined || next.compare(span.from) > 0;
}

function damage(place: string, problem: string): TreeItem {
  return { kind: "damage", place, problem };
}

function nameOf(key: Buffer): string {
  return JSON.stringify(key.toString("latin1"));
}
