// The outermost layer of an LMDB file: its size, its two meta pages, and its pages one by one. lmdb trusts what a file
// says about itself and takes the process down when it is wrong; so it is read here before lmdb sees it.

import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { META_FLAG, PAGE_HEADER_BYTES } from "./lmdb-page.js";
import { REBUILD_REMEDY, StorageFault } from "./storage-fault.js";

const MAGIC = 0xbeefc0de;
/** The data format of lmdb-js 3.5, which stock LMDB 0.9 cannot read. */
const DATA_VERSION = 2;
export const META_PAGES = 2;
const FREE_TREE_AT = PAGE_HEADER_BYTES + 24;
export const TREE_INFO_BYTES = 48;
const LAST_PAGE_AT = FREE_TREE_AT + 2 * TREE_INFO_BYTES;
const META_END = LAST_PAGE_AT + 24;
const MIN_PAGE_BYTES = 512;
const MAX_PAGE_BYTES = 32_768;
/** Integer keys in the list of free pages, and a file rather than a folder: what safely opened environments have. */
const META_FLAGS = 0x4008;
/** A page that is lost to the list of free pages may lie behind the end of the file; a few are no fault. */
const LOST_PAGES_TOLERATED = 64;

/** One B+tree, as its parent describes it. */
export interface TreeInfo {
  readonly depth: number;
  readonly branchPages: bigint;
  readonly leafPages: bigint;
  readonly overflowPages: bigint;
  readonly entries: bigint;
  /** Undefined for an empty tree. */
  readonly root: number | undefined;
}

export interface MetaPage {
  readonly pageBytes: number;
  readonly freeTree: TreeInfo;
  readonly mainTree: TreeInfo;
  readonly lastPage: number;
  readonly transaction: bigint;
}

export function corrupt(file: string, place: string, problem: string): StorageFault {
  return new StorageFault("corrupt", { file, key: place, problem, remedy: REBUILD_REMEDY });
}

/** Reads pages of a file whose meta pages make sense. Must be closed. */
export class LmdbFile {
  readonly fileBytes: number;
  readonly meta: MetaPage;
  readonly #descriptor: number;

  private constructor(
    readonly file: string,
    descriptor: number,
  ) {
    this.#descriptor = descriptor;
    this.fileBytes = fstatSync(descriptor).size;
    const first = this.#readMeta(0, 0);
    const second = this.#readMeta(1, first.pageBytes);
    this.meta = this.#newest(first, second);
  }

  /** @throws StorageFault `notLmdb`, `version`, `truncated` or `corrupt` */
  static open(file: string): LmdbFile {
    const descriptor = openSync(file, "r");
    try {
      return new LmdbFile(file, descriptor);
    } catch (error) {
      closeSync(descriptor);
      throw error;
    }
  }

  close(): void {
    closeSync(this.#descriptor);
  }

  /** Reads `count` pages from `page` on into `target`. @throws StorageFault `truncated` */
  readPages(page: number, count: number, target: Buffer): void {
    const length = count * this.meta.pageBytes;
    const offset = page * this.meta.pageBytes;
    let filled = 0;
    while (filled < length) {
      const bytes = readSync(this.#descriptor, target, filled, length - filled, offset + filled);
      if (bytes === 0) throw this.truncated(`page ${page} lies behind its end`);
      filled += bytes;
    }
  }

  /** The transaction that wrote the page last. */
  pageTransaction(page: number): bigint {
    const header = Buffer.alloc(PAGE_HEADER_BYTES);
    const bytes = readSync(this.#descriptor, header, 0, PAGE_HEADER_BYTES, page * this.meta.pageBytes);
    if (bytes < PAGE_HEADER_BYTES) throw this.truncated(`page ${page} lies behind its end`);
    return header.readBigUInt64LE(8);
  }

  /** @throws StorageFault unless what lies behind the end of the file can only be pages that are free */
  requireLength(freePages: number): void {
    const filePages = Math.floor(this.fileBytes / this.meta.pageBytes);
    const missing = this.meta.lastPage + 1 - filePages;
    if (missing <= freePages + LOST_PAGES_TOLERATED) return;
    throw this.truncated(`it has ${filePages} pages, but should have ${this.meta.lastPage + 1}`);
  }

  truncated(problem: string): StorageFault {
    return new StorageFault("truncated", {
      file: this.file,
      problem: `the file is too short (${this.fileBytes} bytes): ${problem}`,
      remedy: REBUILD_REMEDY,
    });
  }

  #readMeta(number: number, at: number): MetaPage {
    const place = `meta page ${number}`;
    const bytes = Buffer.alloc(META_END);
    const bytesRead = readSync(this.#descriptor, bytes, 0, META_END, at);
    if (bytesRead >= PAGE_HEADER_BYTES + 4 && bytes.readUInt32LE(PAGE_HEADER_BYTES) !== MAGIC) {
      throw this.#notLmdb(place);
    }
    if (bytesRead < META_END) throw this.truncated("it ends before its two meta pages");
    if (bytes.readUInt16LE(18) !== META_FLAG) throw this.#notLmdb(place);
    const version = bytes.readUInt32LE(PAGE_HEADER_BYTES + 4);
    if (version !== DATA_VERSION) {
      throw new StorageFault("version", {
        file: this.file,
        key: place,
        problem: `this is an LMDB file of data version ${version}, this program reads version ${DATA_VERSION}`,
        remedy: `use the program that wrote it, or, if it was this one, ${REBUILD_REMEDY}`,
      });
    }
    const pageBytes = bytes.readUInt32LE(FREE_TREE_AT);
    const possible =
      pageBytes >= MIN_PAGE_BYTES && pageBytes <= MAX_PAGE_BYTES && (pageBytes & (pageBytes - 1)) === 0;
    if (!possible) throw corrupt(this.file, place, `a page cannot have ${pageBytes} bytes`);
    if (bytes.readUInt16LE(FREE_TREE_AT + 4) !== META_FLAGS) {
      throw corrupt(this.file, place, "its flags are none that this program writes");
    }
    const lastPage = bytes.readBigUInt64LE(LAST_PAGE_AT);
    const transaction = bytes.readBigUInt64LE(LAST_PAGE_AT + 8);
    if (lastPage < 1n || lastPage > BigInt(Number.MAX_SAFE_INTEGER)) {
      throw corrupt(this.file, place, `its last page cannot be ${lastPage}`);
    }
    // Transactions write the two meta pages in turn: an older page posing as the newest would undo writes.
    if (transaction !== 0n && Number(transaction & 1n) !== number) {
      throw corrupt(this.file, place, `transaction ${transaction} cannot have written it`);
    }
    return {
      pageBytes,
      freeTree: readTreeInfo(bytes, FREE_TREE_AT, this.file, place),
      mainTree: readPlainTreeInfo(bytes, FREE_TREE_AT + TREE_INFO_BYTES, this.file, place),
      lastPage: Number(lastPage),
      transaction,
    };
  }

  #newest(first: MetaPage, second: MetaPage): MetaPage {
    if (first.pageBytes !== second.pageBytes) {
      throw corrupt(this.file, "meta page 1", "the two meta pages do not agree on the size of a page");
    }
    const distance = first.transaction - second.transaction;
    if (distance !== 1n && distance !== -1n && !(first.transaction === 0n && second.transaction === 0n)) {
      throw corrupt(
        this.file,
        "meta page 1",
        `transactions ${first.transaction} and ${second.transaction} cannot have followed one another`,
      );
    }
    return second.transaction > first.transaction ? second : first;
  }

  #notLmdb(place: string): StorageFault {
    return new StorageFault("notLmdb", {
      file: this.file,
      key: place,
      problem: "the page is none: this is another kind of file, or its beginning is damaged",
      remedy: `check the path of the data folder; if it is right, ${REBUILD_REMEDY}`,
    });
  }
}

/** The description of a tree without special keys. */
export function readPlainTreeInfo(bytes: Buffer, at: number, file: string, place: string): TreeInfo {
  if (bytes.readUInt32LE(at) !== 0 || bytes.readUInt16LE(at + 4) !== 0) {
    throw corrupt(file, place, "it describes a tree of a kind that this program does not write");
  }
  return readTreeInfo(bytes, at, file, place);
}

function readTreeInfo(bytes: Buffer, at: number, file: string, place: string): TreeInfo {
  const root = bytes.readBigUInt64LE(at + 40);
  const isEmpty = root === 0xffff_ffff_ffff_ffffn;
  if (!isEmpty && root > BigInt(Number.MAX_SAFE_INTEGER))
    throw corrupt(file, place, `there is no page ${root}`);
  return {
    depth: bytes.readUInt16LE(at + 6),
    branchPages: bytes.readBigUInt64LE(at + 8),
    leafPages: bytes.readBigUInt64LE(at + 16),
    overflowPages: bytes.readBigUInt64LE(at + 24),
    entries: bytes.readBigUInt64LE(at + 32),
    root: isEmpty ? undefined : Number(root),
  };
}
