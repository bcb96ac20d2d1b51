// One sentence of a contract that can be shown, for any test runner.

/**
 * `run` resolves when the case holds and rejects with what was wrong. For a runner:
 * `for (const { name, run } of storageContract(make)) test(name, run)`.
 */
export interface ContractCase {
  readonly name: string;
  run(): Promise<void>;
}
