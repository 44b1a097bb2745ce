//! Whether to use colours.

use std::io::IsTerminal;

use crate::cli::ColorChoice;
use crate::config::Config;

/// Decides for the whole process.
pub(crate) fn choose(choice: ColorChoice, config: &Config) {
    let decide = |is_terminal: bool| match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => is_terminal && !config.is_colorless(),
    };
    console::set_colors_enabled(decide(std::io::stdout().is_terminal()));
    console::set_colors_enabled_stderr(decide(std::io::stderr().is_terminal()));
}
