//! The header that says who we are.

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use serde::Deserialize;
use tokio::process::Command;

use super::options::{Exec, Token};

/// A token that came from a file or a program is asked for again after this long; the kubelet renews it well before it ends.
const RENEW: Duration = Duration::from_secs(60);

/// The token, and when it was had.
pub(super) struct Credentials {
    token: Option<Token>,
    kept: Mutex<Option<(HeaderValue, Instant)>>,
}

#[derive(Deserialize)]
struct ExecCredential {
    #[serde(default)]
    status: Option<ExecStatus>,
}

#[derive(Deserialize)]
struct ExecStatus {
    #[serde(default)]
    token: String,
}

impl Credentials {
    pub(super) fn new(token: Option<Token>) -> Credentials {
        Credentials {
            token,
            kept: Mutex::new(None),
        }
    }

    /// The server did not take it.
    pub(super) fn forget(&self) {
        *self.kept() = None;
    }

    /// Whether another token may be had than the one that was refused.
    pub(super) fn renewable(&self) -> bool {
        matches!(self.token, Some(Token::File(_) | Token::Exec(_)))
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Option<(HeaderValue, Instant)>> {
        self.kept
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The value of the header `authorization`; none where the certificate says it all.
    ///
    /// # Errors
    /// Why there is no token, and how to mend it.
    pub(super) async fn header(&self) -> Result<Option<HeaderValue>, String> {
        let Some(token) = &self.token else {
            return Ok(None);
        };
        if let Some((header, since)) = self.kept().as_ref()
            && since.elapsed() < RENEW
        {
            return Ok(Some(header.clone()));
        }
        let text = match token {
            Token::Inline(secret) => format!("Bearer {}", secret.reveal()),
            Token::Basic(user, password) => {
                format!(
                    "Basic {}",
                    STANDARD.encode(format!("{user}:{}", password.reveal()))
                )
            }
            Token::File(path) => {
                let token = std::fs::read_to_string(path)
                    .map_err(|e| format!("the token in {}: {e}", path.display()))?;
                format!("Bearer {}", token.trim())
            }
            Token::Exec(exec) => format!("Bearer {}", run(exec).await?),
        };
        let mut header = HeaderValue::from_str(&text)
            .map_err(|_| "the token has characters that no token may have".to_string())?;
        header.set_sensitive(true);
        *self.kept() = Some((header.clone(), Instant::now()));
        Ok(Some(header))
    }
}

/// Has the program say who we are.
async fn run(exec: &Exec) -> Result<String, String> {
    let failed = |why: &str| {
        format!(
            "the kubeconfig's credential program {}: {why}",
            exec.command
        )
    };
    // A name without a slash is looked for on the PATH.
    let program = match exec.command.contains('/') {
        true => exec.directory.join(&exec.command),
        false => PathBuf::from(&exec.command),
    };
    let info = serde_json::json!({
        "apiVersion": exec.api_version,
        "kind": "ExecCredential",
        "spec": {"interactive": false},
    });
    let output = Command::new(&program)
        .args(&exec.args)
        .env("KUBERNETES_EXEC_INFO", info.to_string())
        .envs(exec.env.iter().map(|(name, value)| (name, value)))
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|e| failed(&e.to_string()))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        return Err(failed(&format!("{}: {}", output.status, words.trim())));
    }
    let credential: ExecCredential = serde_json::from_slice(&output.stdout)
        .map_err(|e| failed(&format!("what it printed is no ExecCredential: {e}")))?;
    match credential.status.map(|s| s.token).filter(|t| !t.is_empty()) {
        Some(token) => Ok(token),
        None => Err(failed(
            "it gave no token (client certificates of such programs are not used here)",
        )),
    }
}
