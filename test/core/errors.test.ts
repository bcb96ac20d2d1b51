// The errors of the core tell themselves apart by class, name and code, so that nobody has to compare messages.

import { describe, expect, test } from "vitest";
import { assertNever, invariant } from "../../src/core/errors.js";
import {
  ConfChangeError,
  ConfigInvalid,
  InvariantViolation,
  StorageError,
  type StorageErrorCode,
} from "../../src/core/index.js";

describe("an error of the core", () => {
  test.each([ConfChangeError, ConfigInvalid, InvariantViolation])(
    "is known by its class and its name: %o",
    (kind) => {
      const error = new kind("why");
      expect(error).toBeInstanceOf(Error);
      expect(error).toMatchObject({ name: kind.name, message: "why" });
      for (const other of [ConfChangeError, ConfigInvalid, InvariantViolation, StorageError]) {
        expect(error instanceof other).toBe(other === kind);
      }
    },
  );

  test.each<StorageErrorCode>([
    "compacted",
    "unavailable",
    "logTemporarilyUnavailable",
    "snapshotOutOfDate",
    "snapshotTemporarilyUnavailable",
  ])("of a storage is known by its code: %s", (code) => {
    expect(new StorageError(code)).toMatchObject({ name: "StorageError", code, message: code });
    expect(new StorageError(code, "more")).toMatchObject({ code, message: "more" });
  });

  test("may name what caused it", () => {
    const cause = new Error("disk");
    expect(new ConfChangeError("why", { cause }).cause).toBe(cause);
  });
});

describe("a broken invariant", () => {
  test("is explained only when it is broken", () => {
    const explain = (): string => {
      throw new Error("explained for nothing");
    };
    expect(() => invariant(true, explain)).not.toThrow();
    expect(() => invariant(false, () => "why")).toThrow(new InvariantViolation("why"));
  });

  test("is also a case that no switch knows", () => {
    expect(() => assertNever("other" as never)).toThrow(InvariantViolation);
  });
});
