// What an examination found, one sentence each, and how that is shown.

import { type Output, toJsonLine } from "../output.js";

/**
 * - `ok`: as it should be.
 * - `warning`: works, but will not for long, or not through the next failure.
 * - `problem`: does not work.
 */
export type Severity = "ok" | "warning" | "problem";

export interface Finding {
  readonly severity: Severity;
  /** A stable word for scripts: `quorum`, `checksums`. */
  readonly check: string;
  /** `node 2`, `cluster`, a folder. */
  readonly subject: string;
  /** A sentence without a full stop. */
  readonly says: string;
  /** What to do: a clause without a full stop. Always there for what is not ok. */
  readonly advice?: string;
}

export function ok(check: string, subject: string, says: string): Finding {
  return { severity: "ok", check, subject, says };
}

export function warning(check: string, subject: string, says: string, advice: string): Finding {
  return { severity: "warning", check, subject, says, advice };
}

export function problem(check: string, subject: string, says: string, advice: string): Finding {
  return { severity: "problem", check, subject, says, advice };
}

export function isHealthy(findings: readonly Finding[]): boolean {
  return findings.every(({ severity }) => severity !== "problem");
}

/** What is wrong comes last, where it is seen; the verdict is the last line. */
export function printFindings(findings: readonly Finding[], asJson: boolean, output: Output): void {
  if (asJson) {
    output.line(toJsonLine({ healthy: isHealthy(findings), findings }));
    return;
  }
  const order: readonly Severity[] = ["ok", "warning", "problem"];
  for (const severity of order) {
    for (const finding of findings.filter((candidate) => candidate.severity === severity)) {
      output.line(`${severity.padEnd(7)}  ${finding.check.padEnd(11)}  ${finding.subject}: ${finding.says}`);
      if (finding.advice !== undefined) output.line(`${" ".repeat(22)}→ ${finding.advice}`);
    }
  }
  const count = (severity: Severity): number =>
    findings.filter((finding) => finding.severity === severity).length;
  output.line(
    isHealthy(findings)
      ? `healthy, ${count("warning")} warnings`
      : `not healthy: ${count("problem")} problems, ${count("warning")} warnings`,
  );
}
