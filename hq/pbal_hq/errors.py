"""HQ's own errors, one tree.

HqError                    exit code of the command
  ConfigError              2   the configuration, or what was asked, cannot be used as written
  CertificateError         3   the authority's key or a certificate is missing or cannot be used
  DatabaseError            4   the database does not answer, or has a schema that does not fit
    DatabaseAway               it is not there yet: who waits may find it there
  BrokerError              5   the broker does not answer, or does not let HQ in
  NothingToDo              6   there is no such site, user, ...
  BadInput                 7   a file that was given to be imported cannot be used
  BusError                 8   the bus's files are damaged, or cannot be written now
    BusAway                    it is not there yet
  BrokenChain              9   the audit log was changed (pbal_hq.audit)
  LabError                10   an engine of the lab cannot be fetched, or does not start
  TunnelError             12   a tunnel's interface cannot be changed now (pbal_hq.network)
  LakeError                13  the data lake's folder, a file of it or a key cannot be used
  LakeDiffers              14  the data lake and the store do not have the same figures
  BackupError             15   a backup cannot be read, restored or opened
  CheckFailed             16   `pbal-hq doctor` found something that must be mended
  TrendsError             17   Druid does not answer, or cannot do what it was asked for
  SupersetError           18   Superset does not answer, or lacks what was to be there
  LogsError               19   OpenSearch does not answer, does not let HQ in, or cannot do it now
"""

from __future__ import annotations


class HqError(Exception):
    """Base of all errors a person can act on; its text says what to do."""

    exit_code = 1


class ConfigError(HqError):
    """The configuration, or what was asked, cannot be used as written."""

    exit_code = 2


class CertificateError(HqError):
    """The authority's key or a certificate is missing, damaged or does not fit."""

    exit_code = 3


class DatabaseError(HqError):
    """The database does not answer, refuses us, or has a schema that does not fit."""

    exit_code = 4


class DatabaseAway(DatabaseError):
    """No server is there yet, it begins only now, or none of several takes writes yet."""


class BrokerError(HqError):
    """The broker does not answer, or does not let HQ in."""

    exit_code = 5


class NothingToDo(HqError):
    """What was named does not exist, or is as wanted already."""

    exit_code = 6


class BadInput(HqError):
    """A file that was given to be imported cannot be used; the text names line and column."""

    exit_code = 7


class BusError(HqError):
    """The bus's files are damaged, or cannot be written now."""

    exit_code = 8


class BusAway(BusError):
    """The bus is not there yet: no server of it answers."""


class LabError(HqError):
    """An engine of the lab cannot be fetched or started; the text says what to do."""

    exit_code = 10


class LakeError(HqError):
    """The data lake's folder, a file of it or a key is missing, damaged or cannot be used now."""

    exit_code = 13


class LakeDiffers(HqError):
    """The data lake and the store do not have the same figures."""

    exit_code = 14


class BackupError(HqError):
    """A backup cannot be read, restored or opened; the text says why."""

    exit_code = 15


class CheckFailed(HqError):
    """The doctor found something that must be mended; its findings say what."""

    exit_code = 16


class TrendsError(HqError):
    """Druid does not answer, or cannot do what it was asked for."""

    exit_code = 17


class SupersetError(HqError):
    """Superset does not answer, or lacks what was to be there."""

    exit_code = 18


class LogsError(HqError):
    """OpenSearch does not answer, does not let HQ in, or cannot do what it was asked for."""

    exit_code = 19
