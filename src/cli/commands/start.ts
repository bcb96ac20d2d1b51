// `placement-center start`: one node, in this process, until it is told to stop.

import { Command, Option } from "commander";
import { checkPlacementConfig, PlacementConfigInvalid } from "../../placement/config.js";
import { jsonOption } from "../arguments.js";
import {
  type GivenSettings,
  gatherSettings,
  requiredSetting,
  settingValue,
} from "../config/configuration.js";
import { SETTING_NAMES, SETTINGS, type Setting } from "../config/settings.js";
import { configToJson, configToToml } from "../config/show-config.js";
import { CommandError, ExitStatus } from "../exit-status.js";
import { type NodeOptions, toPlacementConfig } from "../node-options.js";
import type { Output } from "../output.js";

export function startCommand(output: Output): Command {
  const command = new Command("start")
    .summary("run one node")
    .description(
      "Run one node until Ctrl-C or SIGTERM. Logs are JSON lines on standard output.\n" +
        "A new cluster: the same --members on each of its first nodes. A node for a cluster that runs: --join here, and `member add` there.\n" +
        "Every setting can also stand in the file of --config (TOML) as its flag without the dashes, or in the environment: --tick-ms is PLACEMENT_TICK_MS. Flags win over the environment, and that over the file.",
    )
    .option("--config <file>", "read settings from a TOML file (PLACEMENT_CONFIG)")
    .option("--check-config", "print the effective settings, each with its origin, and do not start");
  for (const name of SETTING_NAMES) command.addOption(toOption(SETTINGS[name]));
  command.addOption(jsonOption());
  command.action(async () => {
    const { config, checkConfig, json } = command.opts<{
      config?: string;
      checkConfig?: boolean;
      json?: boolean;
    }>();
    const given = gatherSettings(config, process.env, flagsOf(command));
    const options = toNodeOptions(given);
    if (checkConfig === true) {
      for (const line of json === true ? [configToJson(given)] : configToToml(given)) output.line(line);
      return;
    }
    // The server with all that it needs takes a while to load: no other command shall wait for it.
    const { runNode } = await import("../run-node.js");
    await runNode(options);
  });
  return command;
}

function toOption(setting: Setting<unknown>): Option {
  const { key, takes, describe, fallback, without } = setting;
  const otherwise = without === "required" ? "" : ` (default: ${fallback ?? without})`;
  const description = `${describe.replaceAll("`", "")}${takes === undefined ? "" : otherwise.replaceAll("`", "")}`;
  if (takes === undefined) return new Option(`--${key}`, description);
  return new Option(`--${key} <${takes}>`, description).argParser((text: string) => {
    // Checked at once, so that the flag is named; kept as text, as values from elsewhere are.
    setting.parse(text);
    return text;
  });
}

function flagsOf(command: Command): Map<string, string> {
  const flags = new Map<string, string>();
  for (const option of command.options) {
    const value: unknown = command.getOptionValue(option.attributeName());
    const key = option.long?.slice(2) ?? "";
    const isSetting = SETTING_NAMES.some((name) => SETTINGS[name].key === key);
    if (isSetting && value !== undefined) flags.set(key, String(value));
  }
  return flags;
}

/** @throws CommandError with exit status 2 for whatever a node would not start with */
function toNodeOptions(given: GivenSettings): NodeOptions {
  const members = settingValue(given, SETTINGS.members);
  const join = settingValue(given, SETTINGS.join) === true;
  const options: NodeOptions = {
    id: requiredSetting(given, SETTINGS.id),
    clusterId: requiredSetting(given, SETTINGS.clusterId),
    data: requiredSetting(given, SETTINGS.data),
    listen: requiredSetting(given, SETTINGS.listen),
    http: settingValue(given, SETTINGS.http),
    advertise: settingValue(given, SETTINGS.advertise),
    members,
    tls: tlsOf(given),
    insecurePeers: settingValue(given, SETTINGS.insecurePeers) === true,
    access: {
      tokensFile: settingValue(given, SETTINGS.tokens),
      peerTokenFile: settingValue(given, SETTINGS.peerTokenFile),
      anonymous: settingValue(given, SETTINGS.anonymous),
    },
    tickMs: requiredSetting(given, SETTINGS.tickMs),
    maxValueBytes: requiredSetting(given, SETTINGS.maxValueBytes),
    defaultDeadlineMs: requiredSetting(given, SETTINGS.defaultDeadlineMs),
    historyRevisions: requiredSetting(given, SETTINGS.historyRevisions),
    historyBytes: requiredSetting(given, SETTINGS.historyBytes),
    compactAfterEntries: requiredSetting(given, SETTINGS.compactAfterEntries),
    compactKeepEntries: requiredSetting(given, SETTINGS.compactKeepEntries),
    leaseReads: settingValue(given, SETTINGS.leaseReads) === true,
    forwarding: requiredSetting(given, SETTINGS.forwarding),
    logQuotaBytes: requiredSetting(given, SETTINGS.logQuotaBytes),
    minFreeBytes: requiredSetting(given, SETTINGS.minFreeBytes),
    logLevel: requiredSetting(given, SETTINGS.logLevel),
  };
  if (members !== undefined && join) {
    const [from, other] = [originOf(given, SETTINGS.members.key), originOf(given, SETTINGS.join.key)];
    throw usage(
      `members (${from}) cannot be used with join (${other}): a node either begins a cluster or joins one`,
    );
  }
  if (members === undefined && !join) {
    throw usage(
      "give --members with the members of a new cluster, or --join to wait until a cluster adds this node",
    );
  }
  if (options.compactKeepEntries >= options.compactAfterEntries) {
    throw usage(
      `compact-keep-entries (${options.compactKeepEntries}) must be lower than compact-after-entries (${options.compactAfterEntries})`,
    );
  }
  try {
    checkPlacementConfig(toPlacementConfig(options, undefined));
  } catch (error) {
    if (error instanceof PlacementConfigInvalid) throw usage(error.message);
    throw error;
  }
  return options;
}

function tlsOf(given: GivenSettings): NodeOptions["tls"] {
  const certFile = settingValue(given, SETTINGS.tlsCert);
  const keyFile = settingValue(given, SETTINGS.tlsKey);
  const caFile = settingValue(given, SETTINGS.tlsCa);
  const peerNames = settingValue(given, SETTINGS.tlsPeerNames);
  const optionalClientCertificates = settingValue(given, SETTINGS.tlsOptionalClientCerts);
  if (certFile !== undefined && keyFile !== undefined) {
    return { certFile, keyFile, caFile, peerNames, optionalClientCertificates };
  }
  if (certFile === undefined && keyFile === undefined && caFile === undefined && peerNames === undefined) {
    return undefined;
  }
  throw usage("TLS needs both tls-cert and tls-key; tls-ca and tls-peer-names come on top of them");
}

function originOf(given: GivenSettings, key: string): string {
  return given.get(key)?.origin ?? "default";
}

function usage(message: string): CommandError {
  return new CommandError(ExitStatus.usage, message);
}
