// Takes the place of the file system for the state machine: its files lie on a simulated disk, where a rename is
// atomic and durable at once.

import { diskOf } from "./disk.js";

export function existsSync(path: string): boolean {
  return diskOf(path).stores.has(path);
}

export function statSync(path: string): { readonly size: number } | undefined {
  return existsSync(path) ? { size: 4096 } : undefined;
}

export async function makeFolderDurable(): Promise<void> {}

export async function syncFolder(): Promise<void> {}

export async function rename(from: string, to: string): Promise<void> {
  const disk = diskOf(from);
  await disk.write(`rename to ${to}`, () => {
    const store = disk.stores.get(from);
    if (store === undefined) return;
    disk.stores.set(to, store);
    disk.stores.delete(from);
  });
}

export async function rm(path: string): Promise<void> {
  const disk = diskOf(path);
  if (!disk.stores.has(path)) return;
  await disk.write(`remove ${path}`, () => {
    disk.stores.delete(path);
  });
}
