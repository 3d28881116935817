//! `top`: the status page in a terminal, from the same routes.
//!
//! On a terminal it is drawn anew every second and at each key; elsewhere it is printed once, as plain
//! text. It gives no orders.

mod content;
mod keys;
mod plain;
mod screen;
#[cfg(test)]
mod tests;
mod units;

use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use ratatui_core::terminal::Terminal;
use ratatui_termion::TermionBackend;
use reqwest::Client;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use termion::raw::IntoRawMode;
use termion::screen::IntoAlternateScreen;
use tokio::signal::unix::{SignalKind, signal};

use self::keys::Key;
use self::screen::{Colors, Screen};
use crate::http;
use crate::status::{Change, Point, Status};

const ASK_EVERY: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_secs(5);

/// What the scaler tells of its fleets, and of the past of the one that is looked at.
#[derive(Clone, Debug, Default)]
struct Shown {
    status: Status,
    past: Past,
}

/// What `/api/history` answers.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Past {
    points: Vec<Point>,
    decisions: Vec<Change>,
}

/// Shows the scaler that listens at `address`, and of its fleets the one with this name first.
///
/// # Errors
/// When there is nobody, or no such fleet; and when the terminal cannot be used.
pub async fn top(address: SocketAddr, fleet: Option<String>) -> anyhow::Result<()> {
    let scaler = Scaler {
        base: format!("http://{address}"),
        client: http::client(),
    };
    let shown = scaler.ask(fleet.as_deref()).await?;
    check_name(&shown.status, fleet.as_deref())?;
    if !(io::stdout().is_terminal() && io::stdin().is_terminal()) {
        return Ok(plain::print(
            &shown,
            fleet.as_deref(),
            &mut io::stdout().lock(),
        )?);
    }
    let mut screen = Screen::new(scaler.base.clone(), colors());
    screen.show(shown);
    screen.choose(fleet.as_deref());
    watch(&scaler, screen).await.context("the terminal")
}

fn check_name(status: &Status, fleet: Option<&str>) -> anyhow::Result<()> {
    let names: Vec<&str> = (status.fleets.iter()).map(|view| &*view.fleet).collect();
    match fleet {
        Some(fleet) if !names.contains(&fleet) => {
            bail!(
                "found fleet {fleet:?}, expected one of: {}",
                names.join(", ")
            )
        }
        _ => Ok(()),
    }
}

/// As https://no-color.org has it.
fn colors() -> Colors {
    match std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) {
        true => Colors::None,
        false => Colors::Some,
    }
}

/// Until a key or a signal ends it; the terminal is then as it was.
async fn watch(scaler: &Scaler, mut screen: Screen) -> io::Result<()> {
    let out = io::stdout().into_raw_mode()?.into_alternate_screen()?;
    let mut terminal = Terminal::new(TermionBackend::new(out))?;
    terminal.hide_cursor()?;
    let mut keys = keys::follow();
    let mut times = tokio::time::interval(ASK_EVERY);
    let mut resized = signal(SignalKind::window_change())?;
    let mut ended = signal(SignalKind::terminate())?;
    loop {
        terminal.draw(|frame| screen.draw(frame))?;
        tokio::select! {
            key = keys.recv() => match key {
                Some(Key::Quit) | None => break,
                Some(key) => screen.take(key),
            },
            _ = times.tick() => match scaler.ask(screen.fleet()).await {
                Ok(shown) => screen.show(shown),
                Err(error) => screen.lose(&error),
            },
            _ = resized.recv() => {}
            _ = ended.recv() => break,
        }
    }
    terminal.show_cursor()
}

struct Scaler {
    base: String,
    client: Client,
}

impl Scaler {
    async fn ask(&self, fleet: Option<&str>) -> anyhow::Result<Shown> {
        let status: Status = self.get("/api/status", &[]).await?;
        let first = status.fleets.first().map(|view| view.fleet.clone());
        let past = match fleet.map(str::to_owned).or(first) {
            Some(fleet) => self.get("/api/history", &[("fleet", &fleet)]).await,
            None => Ok(Past::default()),
        };
        // A fleet that is no more has no past.
        let past = past.unwrap_or_default();
        Ok(Shown { status, past })
    }

    async fn get<T: DeserializeOwned>(
        &self,
        route: &str,
        query: &[(&str, &str)],
    ) -> anyhow::Result<T> {
        let base = &self.base;
        let unreachable = || format!("the scaler at {base} cannot be reached");
        let url = reqwest::Url::parse_with_params(&format!("{base}{route}"), query)?;
        let request = self.client.get(url).timeout(TIMEOUT);
        let answer = request.send().await.with_context(unreachable)?;
        if !answer.status().is_success() {
            bail!(
                "what listens at {base} answers {route} with {}",
                answer.status()
            );
        }
        answer.json().await.with_context(unreachable)
    }
}
