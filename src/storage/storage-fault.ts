// What is wrong with the files of a node, in words that an operator can act on.

/**
 * What a fault says about the files; docs/storage.md says what to do about each.
 *
 * | code | meaning |
 * | --- | --- |
 * | `notLmdb` | the file is something else, or its beginning is destroyed |
 * | `truncated` | the file ends before data that it must hold |
 * | `corrupt` | the structure of the file contradicts itself |
 * | `checksum` | a record is not what was written |
 * | `gap` | an entry of the log is missing |
 * | `inconsistent` | records that are intact contradict one another |
 * | `version` | written by a program of another format version |
 * | `foreignCluster`, `foreignNode` | the folder belongs to somebody else |
 * | `locked` | another process, or another instance in this one, has the folder open |
 * | `writeFailed`, `writeStalled` | a write did not reach the disk; nothing after it was acknowledged |
 * | `closed` | used after `close` |
 * | `tooLarge` | a configured limit would be exceeded |
 * | `noSpace` | the disk has no room for a snapshot; nothing was changed, and what was received before stays |
 * | `incomplete` | a snapshot's body is not there in full |
 * | `superseded` | another attempt to receive the same snapshot has taken over |
 */
export const STORAGE_FAULT_CODES = [
  "notLmdb",
  "truncated",
  "corrupt",
  "checksum",
  "gap",
  "inconsistent",
  "version",
  "foreignCluster",
  "foreignNode",
  "locked",
  "writeFailed",
  "writeStalled",
  "closed",
  "tooLarge",
  "noSpace",
  "incomplete",
  "superseded",
] as const;

export type StorageFaultCode = (typeof STORAGE_FAULT_CODES)[number];

export interface StorageFaultDetail {
  readonly file: string;
  /** The record concerned, if it is one. */
  readonly key?: string;
  /** What is wrong: a clause without a full stop. */
  readonly problem: string;
  /** What to do about it: a clause without a full stop. */
  readonly remedy: string;
  readonly cause?: unknown;
}

/** The advice for damaged data that a healthy group can replace. */
export const REBUILD_REMEDY =
  "move the folder away and let the node rejoin as a new member, or restore the folder from a copy made while the node was stopped";

/** A fault of the files or of the disk. The node must not go on with them. */
export class StorageFault extends Error {
  override readonly name = "StorageFault";
  readonly file: string;
  readonly key: string | undefined;
  /** What is wrong, without place and advice. */
  readonly problem: string;

  constructor(
    readonly code: StorageFaultCode,
    detail: StorageFaultDetail,
  ) {
    const place = detail.key === undefined ? detail.file : `${detail.file}, key ${detail.key}`;
    super(
      `${place}: ${detail.problem}; ${detail.remedy}`,
      detail.cause === undefined ? undefined : { cause: detail.cause },
    );
    this.file = detail.file;
    this.key = detail.key;
    this.problem = detail.problem;
  }
}

export function missingEntry(file: string, key: string): StorageFault {
  return new StorageFault("gap", {
    file,
    key,
    problem: "the entry is missing although it belongs to the log",
    remedy: REBUILD_REMEDY,
  });
}

export function damagedRecord(file: string, key: string): StorageFault {
  return new StorageFault("checksum", {
    file,
    key,
    problem: "the checksum does not match: the record was damaged after it was written",
    remedy: REBUILD_REMEDY,
  });
}
