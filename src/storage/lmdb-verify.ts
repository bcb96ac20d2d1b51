// Reads a whole LMDB file without lmdb: every page that lmdb would follow is checked before its contents are
// believed, so that a damaged file is an error and never a crash.

import { corrupt, LmdbFile, META_PAGES, type TreeInfo } from "./lmdb-file.js";
import { TreeWalk } from "./lmdb-tree.js";
import { PageSet } from "./page-set.js";

export interface LmdbFileReport {
  readonly fileBytes: number;
  readonly pageBytes: number;
  readonly usedPages: number;
  readonly freePages: number;
  readonly transaction: bigint;
}

/** Takes a key and its value; both are views that are only valid during the call. */
export type LmdbRecordVisitor = (key: Buffer, value: Buffer) => void;

/**
 * Walks the file as its newest transaction left it: the records of the root database first, then each named
 * database, which must all be in `databases`, in key order. Nobody may write to the file meanwhile.
 * @throws StorageFault naming the page; what a visitor throws ends the walk
 */
export async function verifyLmdbFile(
  path: string,
  root: LmdbRecordVisitor,
  databases: ReadonlyMap<string, LmdbRecordVisitor>,
): Promise<LmdbFileReport> {
  const file = LmdbFile.open(path);
  try {
    const { meta } = file;
    const filePages = Math.floor(file.fileBytes / meta.pageBytes);
    requireTransaction(file, meta.freeTree);
    requireTransaction(file, meta.mainTree);
    const used = new PageSet(Math.min(meta.lastPage, filePages));
    const free = new FreePages(file);
    await new TreeWalk(file, used, "the list of free pages", "integer", free).run(meta.freeTree);

    const trees = new Map<string, TreeInfo>();
    await new TreeWalk(file, used, "the root database", "bytes", {
      value: root,
      tree: (key, info) => trees.set(databaseName(key), info),
    }).run(meta.mainTree);
    for (const [name, info] of trees) {
      const value = databases.get(name);
      if (value === undefined) throw corrupt(path, JSON.stringify(name), "there should be no such database");
      await new TreeWalk(file, used, `the database ${name}`, "bytes", {
        value,
        tree: unexpectedTree(path),
      }).run(info);
    }
    for (const name of databases.keys()) {
      if (!trees.has(name)) throw corrupt(path, JSON.stringify(name), "the database is missing");
    }

    free.requireApartFrom(used);
    file.requireLength(free.count);
    return {
      fileBytes: file.fileBytes,
      pageBytes: meta.pageBytes,
      usedPages: used.size + META_PAGES,
      freePages: free.count,
      transaction: meta.transaction,
    };
  } finally {
    file.close();
  }
}

/** lmdb-js ends the names of databases with a zero byte. */
function databaseName(key: Buffer): string {
  const name = key.toString("latin1");
  return name.endsWith("\0") ? name.slice(0, -1) : name;
}

function unexpectedTree(path: string): (key: Buffer) => never {
  return (key) => {
    throw corrupt(path, JSON.stringify(key.toString("latin1")), "a value should be here, not a database");
  };
}

/** The newest meta page must be the one that its trees belong to. */
function requireTransaction(file: LmdbFile, tree: TreeInfo): void {
  if (tree.root === undefined) return;
  if (file.pageTransaction(tree.root) > file.meta.transaction) {
    throw corrupt(file.file, `page ${tree.root}`, "it was written after the newest transaction");
  }
}

/** Collects the pages that lmdb would hand out for new data: were one of them in use, it would be overwritten. */
class FreePages {
  readonly #file: LmdbFile;
  readonly #ranges: { readonly first: number; readonly count: number }[] = [];
  count = 0;

  constructor(file: LmdbFile) {
    this.#file = file;
  }

  /** A count, then page numbers; a negative number before one makes it the first of so many pages. */
  value(_key: Buffer, value: Buffer): void {
    const slots = Math.floor(value.length / 8);
    const count = slots === 0 ? -1n : value.readBigInt64LE(0);
    if (count < 0n || count >= BigInt(slots))
      throw this.#corrupt(`a record cannot hold ${count} page numbers`);
    for (let at = 1; at <= Number(count); at += 1) {
      let slot = value.readBigInt64LE(at * 8);
      if (slot === 0n) continue;
      let pages = 1n;
      if (slot < 0n) {
        pages = -slot;
        at += 1;
        slot = at < slots ? value.readBigInt64LE(at * 8) : 0n;
        if (slot === 0n) continue;
      }
      this.#add(slot, pages);
    }
  }

  tree(): void {
    throw this.#corrupt("it holds a tree");
  }

  requireApartFrom(used: PageSet): void {
    for (const { first, count } of this.#ranges) {
      for (let page = first; page < first + count; page += 1) {
        if (used.has(page))
          throw corrupt(this.#file.file, `page ${page}`, "it is in use although listed as free");
      }
    }
  }

  #add(first: bigint, count: bigint): void {
    const last = first + count - 1n;
    if (first < BigInt(META_PAGES) || last > BigInt(this.#file.meta.lastPage)) {
      throw this.#corrupt(`it lists pages ${first} to ${last}, which do not exist`);
    }
    this.#ranges.push({ first: Number(first), count: Number(count) });
    this.count += Number(count);
  }

  #corrupt(problem: string): Error {
    return corrupt(this.#file.file, "the list of free pages", problem);
  }
}
