"""The configuration: read once at the start, checked in full, and frozen.

`oxd-conf.json` of the legacy server loads unchanged. Keys keep their spelling in the file; attributes are the
same names with underscores. null and "" mean the default. Lines that hold nothing but a `//` comment are
skipped. `oxd-server.yml` of oxd 4.x loads too. The environment, credentials and flags come on top (`given.py`). An
unknown key is a warning; a wrong value is a `ConfigError`, which stops the start.
"""

from oxd_server.config.default_site import DefaultSite, load_default_site
from oxd_server.config.file import ConfigError
from oxd_server.config.given import Sources
from oxd_server.config.https_keys import HttpsConfig
from oxd_server.config.keys import Config
from oxd_server.config.loading import Loaded, default_site_path, load_config, load_settings
from oxd_server.config.oxd4 import Converted, convert, is_yaml
from oxd_server.config.restart import as_reloaded
from oxd_server.config.storage_keys import StorageConfig

__all__ = [
    "Config",
    "ConfigError",
    "Converted",
    "DefaultSite",
    "HttpsConfig",
    "Loaded",
    "Sources",
    "StorageConfig",
    "as_reloaded",
    "convert",
    "default_site_path",
    "is_yaml",
    "load_config",
    "load_default_site",
    "load_settings",
]
