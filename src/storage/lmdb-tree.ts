// Walks one B+tree of an LMDB file and checks everything that lmdb relies on when it walks it.

import { corrupt, type LmdbFile, readPlainTreeInfo, TREE_INFO_BYTES, type TreeInfo } from "./lmdb-file.js";
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
import type { PageSet } from "./page-set.js";

/** Other work gets a turn after this many pages. */
const PAGES_PER_TURN = 256;

export interface TreeVisitor {
  /** A key and its value, in order. Both are views that are only valid during the call. */
  value(key: Buffer, value: Buffer): void;
  /** A key whose value describes another tree. */
  tree(key: Buffer, info: TreeInfo): void;
}

/** Compares keys as the tree sorts them. */
export type KeyOrder = "bytes" | "integer";

/** Remembers which pages were met, so that no page serves two masters. */
export class TreeWalk {
  readonly #file: LmdbFile;
  readonly #used: PageSet;
  readonly #order: KeyOrder;
  readonly #visitor: TreeVisitor;
  readonly #name: string;
  readonly #buffers: Buffer[] = [];
  #overflow = Buffer.alloc(0);
  #lastKey: Buffer | undefined;
  #branchPages = 0n;
  #leafPages = 0n;
  #overflowPages = 0n;
  #entries = 0n;
  #pages = 0;

  constructor(file: LmdbFile, used: PageSet, name: string, order: KeyOrder, visitor: TreeVisitor) {
    this.#file = file;
    this.#used = used;
    this.#name = name;
    this.#order = order;
    this.#visitor = visitor;
  }

  /** @throws StorageFault `corrupt` or `truncated`, and what the visitor throws */
  async run(info: TreeInfo): Promise<void> {
    if (info.root === undefined) {
      if (info.depth !== 0 || info.entries !== 0n) throw this.#corrupt("it has no root, but is not empty");
      return;
    }
    if (info.depth < 1 || info.depth > MAX_TREE_DEPTH)
      throw this.#corrupt(`it cannot be ${info.depth} pages deep`);
    await this.#walk(info.root, info.depth, undefined);
    const counted: [string, bigint, bigint][] = [
      ["branch pages", this.#branchPages, info.branchPages],
      ["leaf pages", this.#leafPages, info.leafPages],
      ["overflow pages", this.#overflowPages, info.overflowPages],
      ["entries", this.#entries, info.entries],
    ];
    for (const [what, found, announced] of counted) {
      if (found !== announced) throw this.#corrupt(`it has ${found} ${what}, not ${announced}`);
    }
  }

  /** `separator` is the key in the parent: no key of this page may be smaller, none before it as large. */
  async #walk(number: number, depth: number, separator: Buffer | undefined): Promise<void> {
    this.#pages += 1;
    if (this.#pages % PAGES_PER_TURN === 0) await new Promise<void>((resolve) => setImmediate(resolve));
    const page = this.#readPage(number, depth);
    const place = `page ${number}`;
    const count = this.#checkLayout(page, place);
    if (
      separator !== undefined &&
      this.#lastKey !== undefined &&
      this.#compare(this.#lastKey, separator) >= 0
    ) {
      throw corrupt(this.#file.file, place, "its keys do not follow on those of the page before it");
    }
    if (page.readUInt16LE(18) === LEAF_FLAG) {
      if (depth !== 1) throw corrupt(this.#file.file, place, "a leaf where a branch should be");
      this.#leafPages += 1n;
      this.#visitLeaf(page, count, separator, place);
      return;
    }
    if (depth === 1) throw corrupt(this.#file.file, place, "a branch where a leaf should be");
    if (count < 1) throw corrupt(this.#file.file, place, "a branch that leads nowhere");
    this.#branchPages += 1n;
    for (let at = 0; at < count; at += 1) {
      const node = nodeOffset(page, at);
      const key = at === 0 ? separator : this.#nodeKey(page, node);
      await this.#walk(childPage(page, node), depth - 1, key);
    }
  }

  #readPage(number: number, depth: number): Buffer {
    const place = `page ${number}`;
    this.#claim(number, 1, place);
    // One buffer a level: a branch is still needed when its children have been walked.
    const page = this.#buffers[depth] ?? Buffer.allocUnsafeSlow(this.#file.meta.pageBytes);
    this.#buffers[depth] = page;
    this.#file.readPages(number, 1, page);
    if (page.readBigUInt64LE(0) !== BigInt(number)) {
      throw corrupt(this.#file.file, place, `it is marked as page ${page.readBigUInt64LE(0)}`);
    }
    if (page.readBigUInt64LE(8) > this.#file.meta.transaction) {
      throw corrupt(this.#file.file, place, "it was written by a transaction that never happened");
    }
    return page;
  }

  /** Checks where the nodes of a page lie; returns how many there are. */
  #checkLayout(page: Buffer, place: string): number {
    const flags = page.readUInt16LE(18);
    const lower = page.readUInt16LE(20);
    const upper = page.readUInt16LE(22);
    const space = page.length - PAGE_HEADER_BYTES;
    if (flags !== LEAF_FLAG && flags !== BRANCH_FLAG) {
      throw corrupt(this.#file.file, place, `it is of no known kind (flags ${flags})`);
    }
    if ((lower & 1) !== 0 || lower > upper || upper > space) {
      throw corrupt(this.#file.file, place, `its free space cannot lie between ${lower} and ${upper}`);
    }
    const count = lower >> 1;
    let nodeBytes = 0;
    for (let at = 0; at < count; at += 1) {
      const offset = nodeOffset(page, at) - PAGE_HEADER_BYTES;
      if ((offset & 1) !== 0 || offset < upper || offset + NODE_HEADER_BYTES > space) {
        throw corrupt(this.#file.file, place, `node ${at} cannot begin at ${offset}`);
      }
      const size = this.#nodeSize(page, offset + PAGE_HEADER_BYTES, flags);
      if (offset + size > space) throw corrupt(this.#file.file, place, `node ${at} reaches beyond the page`);
      nodeBytes += size + (size & 1);
    }
    if (nodeBytes !== space - upper) {
      throw corrupt(this.#file.file, place, `its nodes take ${nodeBytes} bytes, not ${space - upper}`);
    }
    return count;
  }

  #nodeSize(page: Buffer, node: number, pageFlags: number): number {
    const keyBytes = nodeKeyBytes(page, node);
    if (pageFlags === BRANCH_FLAG) return NODE_HEADER_BYTES + keyBytes;
    const isBig = (nodeFlags(page, node) & BIG_DATA_FLAG) !== 0;
    return NODE_HEADER_BYTES + keyBytes + (isBig ? OVERFLOW_REFERENCE_BYTES : nodeValueBytes(page, node));
  }

  #visitLeaf(page: Buffer, count: number, separator: Buffer | undefined, place: string): void {
    let previous = this.#lastKey;
    for (let at = 0; at < count; at += 1) {
      const node = nodeOffset(page, at);
      const key = this.#nodeKey(page, node);
      if (this.#order === "integer" && key.length !== 8) {
        throw corrupt(this.#file.file, place, `key ${at} has ${key.length} bytes, not 8`);
      }
      if (previous !== undefined && this.#compare(previous, key) >= 0) {
        throw corrupt(this.#file.file, place, `key ${at} is not greater than the one before it`);
      }
      if (at === 0 && separator !== undefined && this.#compare(separator, key) > 0) {
        throw corrupt(this.#file.file, place, "its first key is smaller than its parent says");
      }
      previous = key;
      this.#visitNode(page, node, key, place);
    }
    this.#entries += BigInt(count);
    if (previous !== undefined && count > 0) this.#lastKey = Buffer.from(previous);
  }

  #visitNode(page: Buffer, node: number, key: Buffer, place: string): void {
    const flags = nodeFlags(page, node);
    const valueAt = node + NODE_HEADER_BYTES + key.length;
    const valueBytes = nodeValueBytes(page, node);
    switch (flags) {
      case 0:
        this.#visitor.value(key, page.subarray(valueAt, valueAt + valueBytes));
        return;
      case BIG_DATA_FLAG:
        this.#visitor.value(key, this.#readOverflow(page, valueAt, valueBytes, place));
        return;
      case SUB_TREE_FLAG:
        if (valueBytes !== TREE_INFO_BYTES)
          throw corrupt(this.#file.file, place, "a tree's description is cut");
        this.#visitor.tree(key, readPlainTreeInfo(page, valueAt, this.#file.file, place));
        return;
      default:
        throw corrupt(this.#file.file, place, `a node is of no known kind (flags ${flags})`);
    }
  }

  #readOverflow(page: Buffer, at: number, valueBytes: number, parent: string): Buffer {
    const { pageBytes } = this.#file.meta;
    const count = overflowPageCount(valueBytes, pageBytes);
    const first = page.readBigUInt64LE(at);
    if (page.readBigUInt64LE(at + 16) !== BigInt(count)) {
      throw corrupt(
        this.#file.file,
        parent,
        `a value of ${valueBytes} bytes cannot take the pages it claims`,
      );
    }
    const number = Number(first);
    const place = `page ${first}`;
    this.#claim(number, count, place);
    if (this.#overflow.length < count * pageBytes) this.#overflow = Buffer.allocUnsafeSlow(count * pageBytes);
    this.#file.readPages(number, count, this.#overflow);
    const intact =
      this.#overflow.readBigUInt64LE(0) === first &&
      this.#overflow.readBigUInt64LE(8) === page.readBigUInt64LE(at + 8) &&
      this.#overflow.readBigUInt64LE(8) <= this.#file.meta.transaction &&
      this.#overflow.readUInt16LE(18) === OVERFLOW_FLAG &&
      this.#overflow.readUInt32LE(20) === count;
    if (!intact) throw corrupt(this.#file.file, place, "it does not begin a value, although a leaf says so");
    this.#overflowPages += BigInt(count);
    return this.#overflow.subarray(PAGE_HEADER_BYTES, PAGE_HEADER_BYTES + valueBytes);
  }

  #claim(page: number, count: number, place: string): void {
    for (let offset = 0; offset < count; offset += 1) {
      const problem = this.#used.add(page + offset);
      if (problem !== undefined) throw corrupt(this.#file.file, place, problem);
    }
  }

  #nodeKey(page: Buffer, node: number): Buffer {
    const start = node + NODE_HEADER_BYTES;
    return page.subarray(start, start + nodeKeyBytes(page, node));
  }

  #compare(left: Buffer, right: Buffer): number {
    if (this.#order === "bytes") return left.compare(right);
    const difference = left.readBigUInt64LE(0) - right.readBigUInt64LE(0);
    return difference < 0n ? -1 : difference > 0n ? 1 : 0;
  }

  #corrupt(problem: string): Error {
    return corrupt(this.#file.file, this.#name, problem);
  }
}
