// One process per folder: a second one is refused while the first lives, however the first was stopped or paused, and
// takes over as soon as it is dead. Real processes; both kinds of claims, sockets and files.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { FolderLock, type LockKind } from "../../src/storage/folder-lock.js";
import { temporaryFolder } from "./support.js";

const LOCK_MODULE = new URL("../../dist/storage/folder-lock.js", import.meta.url).href;
const HOLDER = `
  const { FolderLock } = await import(process.argv[1]);
  await FolderLock.acquire(process.argv[2], process.argv[3]);
  setInterval(() => {}, 1000);
  process.send("locked");
`;

describe.each<LockKind>(["socket", "file"])("a lock that is a %s", (kind) => {
  test("refuses a second holder in the same process until it is released", async () => {
    const dir = await temporaryFolder();
    const lock = await FolderLock.acquire(dir, kind);
    await expect(FolderLock.acquire(dir, kind)).rejects.toMatchObject({
      code: "locked",
      message: expect.stringContaining("this process itself"),
    });
    await lock.release();
    const next = await FolderLock.acquire(dir, kind);
    await next.release();
    expect(await readdir(dir)).toEqual([]);
  });

  test("refuses while another process holds it, also one that is stopped, and names it", async () => {
    const dir = await temporaryFolder();
    const holder = await hold(dir, kind);
    const refusal = { code: "locked", message: expect.stringContaining(`process ${holder.pid}`) };
    await expect(FolderLock.acquire(dir, kind)).rejects.toMatchObject(refusal);
    process.kill(holder.pid, "SIGSTOP");
    await expect(FolderLock.acquire(dir, kind)).rejects.toMatchObject(refusal);
    expect(await readdir(dir)).toHaveLength(1);
  });

  test("is taken over when its process was killed", async () => {
    const dir = await temporaryFolder();
    const holder = await hold(dir, kind);
    await holder.kill();
    const lock = await FolderLock.acquire(dir, kind);
    await lock.release();
    expect(await readdir(dir)).toEqual([]);
  });

  test("lets at most one of many who come at once go on", async () => {
    const dir = await temporaryFolder();
    for (let round = 0; round < 20; round += 1) {
      const attempts = await Promise.allSettled(
        Array.from({ length: 5 }, () => FolderLock.acquire(dir, kind)),
      );
      const locks = attempts.flatMap((attempt) => (attempt.status === "fulfilled" ? [attempt.value] : []));
      expect(locks.length).toBeLessThanOrEqual(1);
      for (const lock of locks) await lock.release();
      expect(await readdir(dir)).toEqual([]);
    }
  });
});

test("works in a folder whose path is too long for a socket", async () => {
  const dir = join(await temporaryFolder(), "x".repeat(120), "y".repeat(120));
  await mkdir(dir, { recursive: true });
  const holder = await hold(dir, "socket");
  await expect(FolderLock.acquire(dir)).rejects.toMatchObject({ code: "locked" });
  await holder.kill();
  await (await FolderLock.acquire(dir)).release();
  expect(await readdir(dir)).toEqual([]);
});

test("a claim of a process id that was used again is dead", async () => {
  const dir = await temporaryFolder();
  const claim = JSON.stringify({ pid: process.pid, start: "1", boot: "another boot" });
  await writeFile(join(dir, `lock-${process.pid}-00.pid`), claim);
  await (await FolderLock.acquire(dir, "file")).release();
  expect(await readdir(dir)).toEqual([]);
});

test("a claim that was cut off while it was written is dead", async () => {
  const dir = await temporaryFolder();
  await writeFile(join(dir, "lock-1-00.pid"), '{"pid":');
  await (await FolderLock.acquire(dir)).release();
  expect(await readdir(dir)).toEqual([]);
});

interface Holder {
  readonly pid: number;
  kill(): Promise<void>;
}

async function hold(dir: string, kind: LockKind): Promise<Holder> {
  const child = spawn(process.execPath, ["--input-type=module", "-e", HOLDER, LOCK_MODULE, dir, kind], {
    stdio: ["ignore", "inherit", "inherit", "ipc"],
  });
  const exited = once(child, "exit");
  const kill = async (): Promise<void> => {
    child.kill("SIGKILL");
    await exited;
  };
  onTestFinished(kill);
  await Promise.race([
    once(child, "message"),
    exited.then(() => Promise.reject(new Error("the holder ended"))),
  ]);
  return { pid: child.pid ?? 0, kill };
}
