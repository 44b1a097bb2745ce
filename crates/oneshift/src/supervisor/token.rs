//! Secrets for one run.

use std::fmt::Write;

use secrecy::SecretString;

/// A token of 256 random bits.
///
/// # Errors
/// When the system has no randomness.
pub(crate) fn random_token() -> anyhow::Result<SecretString> {
    let mut bytes = [0_u8; 32];
    // The system call gives up to 256 bytes at once or fails.
    let count = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    anyhow::ensure!(count == bytes.len(), "the system gives too little randomness");
    let hex = bytes.iter().fold(String::new(), |mut hex, byte| {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    Ok(SecretString::from(hex))
}
