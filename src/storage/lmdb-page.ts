// What an LMDB page looks like inside: the marks of its kinds and of its nodes, and where a node keeps what.

export const PAGE_HEADER_BYTES = 24;
/** Kinds of pages. */
export const BRANCH_FLAG = 0x01;
export const LEAF_FLAG = 0x02;
export const OVERFLOW_FLAG = 0x04;
export const META_FLAG = 0x08;

export const NODE_HEADER_BYTES = 8;
/** Kinds of nodes: the value is on pages of its own, or describes another tree. */
export const BIG_DATA_FLAG = 0x01;
export const SUB_TREE_FLAG = 0x02;
/** Page number, transaction, count of pages. */
export const OVERFLOW_REFERENCE_BYTES = 24;
/** Deeper than any tree of 2^64 pages. */
export const MAX_TREE_DEPTH = 32;

/** Where node `at` of a page begins. */
export function nodeOffset(page: Buffer, at: number): number {
  return page.readUInt16LE(PAGE_HEADER_BYTES + 2 * at) + PAGE_HEADER_BYTES;
}

export function nodeKeyBytes(page: Buffer, node: number): number {
  return page.readUInt16LE(node + 6);
}

/** Of a leaf's node. */
export function nodeFlags(page: Buffer, node: number): number {
  return page.readUInt16LE(node + 4);
}

/** Of a leaf's node, wherever the value is. */
export function nodeValueBytes(page: Buffer, node: number): number {
  return page.readUInt16LE(node) + page.readUInt16LE(node + 2) * 0x1_0000;
}

/** The page that a branch's node leads to. */
export function childPage(page: Buffer, node: number): number {
  return nodeValueBytes(page, node) + page.readUInt16LE(node + 4) * 0x1_0000_0000;
}

/** How many pages the value of a node takes that does not fit into a leaf. */
export function overflowPageCount(valueBytes: number, pageBytes: number): number {
  return Math.floor((PAGE_HEADER_BYTES - 1 + valueBytes) / pageBytes) + 1;
}
