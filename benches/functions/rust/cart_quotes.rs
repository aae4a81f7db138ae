//! Quotes shopping carts: requests in JSON against a catalogue in memory, replies in JSON.
//!
//! `cart_quotes [tiny|small|full] [--repeat N]` prints `NAME SIZE CRC-32 BYTES`; all invocations must agree. Where
//! `AWS_LAMBDA_RUNTIME_API` is set it serves events `{"size": "small"}` instead, as a function on `provided.*` does.
//! The same function is built twice: on the system's allocator, which can be preloaded, and on memento.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::net::TcpStream;
use std::process::ExitCode;

const NAME: &str = "cart_quotes";

/// A random source that gives the same numbers in every process (splitmix64).
struct Source(u64);

impl Source {
    fn draw(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

#[derive(Serialize, Deserialize)]
struct Cart {
    customer: String,
    country: String,
    voucher: Option<String>,
    lines: Vec<Line>,
}

#[derive(Serialize, Deserialize)]
struct Line {
    sku: String,
    quantity: u64,
    note: String,
}

struct Article {
    title: String,
    cents: u64,
    tags: Vec<String>,
}

#[derive(Serialize)]
struct Quote<'a> {
    customer: &'a str,
    lines: Vec<Priced<'a>>,
    missing: Vec<&'a str>,
    by_tag: BTreeMap<&'a str, u64>,
    discount: u64,
    tax: u64,
    total: u64,
}

#[derive(Serialize)]
struct Priced<'a> {
    title: &'a str,
    text: String,
    cents: u64,
}

/// Makes `count` requests, answers each, and returns all answers.
fn handler(count: u64) -> String {
    let mut source = Source(41);
    let catalogue: HashMap<String, Article> = (0..count / 8 + 20)
        .map(|number| {
            let tags = (0..=source.draw(3)).map(|_| format!("tag-{}", source.draw(12))).collect();
            let cents = 50 + source.draw(20_000);
            (
                format!("SKU-{number:05}"),
                Article { title: format!("Article no. {number}"), cents, tags },
            )
        })
        .collect();
    let known = catalogue.len() as u64;
    let mut out = String::new();
    for customer in 0..count {
        let request = request(&mut source, customer, known);
        if let Ok(cart) = serde_json::from_str::<Cart>(&request)
            && let Ok(text) = serde_json::to_string(&quote(&cart, &catalogue))
        {
            out.push_str(&text);
            out.push('\n');
        }
    }
    out
}

fn request(source: &mut Source, customer: u64, known: u64) -> String {
    let mut line = |_| Line {
        // One in twenty is no longer sold.
        sku: format!("SKU-{:05}", source.draw(known + known / 20 + 1)),
        quantity: 1 + source.draw(4),
        note: "n".repeat(source.draw(40) as usize),
    };
    let lines = (0..2 + customer % 9).map(&mut line).collect();
    let country = ["DE", "FR", "US", "JP"][source.draw(4) as usize].to_owned();
    let voucher = (source.draw(3) == 0).then(|| format!("VOUCHER-{}", source.draw(30)));
    let cart = Cart { customer: format!("customer-{customer}"), country, voucher, lines };
    serde_json::to_string_pretty(&cart).unwrap_or_default()
}

fn quote<'a>(cart: &'a Cart, catalogue: &'a HashMap<String, Article>) -> Quote<'a> {
    let (mut lines, mut missing, mut by_tag) = (Vec::new(), Vec::new(), BTreeMap::new());
    for line in &cart.lines {
        let Some(article) = catalogue.get(&line.sku) else {
            missing.push(line.sku.as_str());
            continue;
        };
        let cents = article.cents * line.quantity;
        for tag in &article.tags {
            *by_tag.entry(tag.as_str()).or_default() += cents;
        }
        let mut text = format!("{} × {}", line.quantity, article.title);
        if !line.note.is_empty() {
            let _ = write!(text, " ({})", line.note);
        }
        lines.push(Priced { title: &article.title, text, cents });
    }
    lines.sort_by(|a, b| b.cents.cmp(&a.cents).then_with(|| a.title.cmp(b.title)));
    let sum: u64 = lines.iter().map(|line| line.cents).sum();
    let discount = if cart.voucher.is_some() { sum / 10 } else { 0 };
    let percent = match cart.country.as_str() {
        "DE" => 19,
        "FR" => 20,
        "JP" => 10,
        _ => 0,
    };
    let tax = (sum - discount) * percent / 100;
    let total = sum - discount + tax;
    Quote { customer: &cart.customer, lines, missing, by_tag, discount, tax, total }
}

/// How many requests `tiny`, `small` and `full` are.
fn count(size: &str) -> Option<u64> {
    Some(match size {
        "tiny" => 40,
        "small" => 2500,
        "full" => 14_000,
        _ => return None,
    })
}

fn answer(size: &str) -> Option<String> {
    let output = handler(count(size)?);
    let crc = crc32fast::hash(output.as_bytes());
    Some(format!("{NAME} {size} {crc:08x} {}", output.len()))
}

/// The program. `after_response` is called when an event has been answered.
pub(crate) fn main(after_response: fn()) -> ExitCode {
    if let Ok(address) = std::env::var("AWS_LAMBDA_RUNTIME_API") {
        // It only ends when the platform goes away.
        return match serve(&address, after_response) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{NAME}: {error}");
                ExitCode::FAILURE
            }
        };
    }
    let (mut size, mut repeat) = ("full".to_owned(), 1);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let number =
            if word == "--repeat" { words.next().and_then(|n| n.parse().ok()) } else { None };
        match number {
            Some(number) => repeat = number,
            None if count(&word).is_some() => size = word,
            None => {
                eprintln!("usage: {NAME} [tiny|small|full] [--repeat N]");
                return ExitCode::FAILURE;
            }
        }
    }
    let first = answer(&size);
    for _ in 1..repeat {
        if answer(&size) != first {
            eprintln!("{NAME}: invocations disagree");
            return ExitCode::FAILURE;
        }
    }
    println!("{}", first.unwrap_or_default());
    ExitCode::SUCCESS
}

/// Takes events from the Lambda Runtime API, one after the other.
fn serve(address: &str, after_response: fn()) -> std::io::Result<()> {
    let mut connection = BufReader::new(TcpStream::connect(address)?);
    let mut call = |method: &str, path: &str, body: &str| {
        let length = body.len();
        let request = format!(
            "{method} /2018-06-01/runtime/{path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        connection.get_mut().write_all(request.as_bytes())?;
        response(&mut connection)
    };
    loop {
        let (id, body) = call("GET", "invocation/next", "")?;
        let event: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
        let size = event["size"].as_str().unwrap_or("small");
        match answer(size) {
            Some(text) => {
                let body = serde_json::json!({ "answer": text }).to_string();
                call("POST", &format!("invocation/{id}/response"), &body)?;
            }
            None => {
                let body =
                    serde_json::json!({ "errorMessage": format!("no size {size}") }).to_string();
                call("POST", &format!("invocation/{id}/error"), &body)?;
            }
        }
        after_response();
    }
}

/// Reads a response: the request's ID, if it names one, and the body.
fn response(input: &mut impl BufRead) -> std::io::Result<(String, String)> {
    let (mut id, mut length, mut line) = (String::new(), 0, String::new());
    loop {
        line.clear();
        if input.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            if line.trim_end().is_empty() {
                break;
            }
            continue;
        };
        match name.to_ascii_lowercase().as_str() {
            "lambda-runtime-aws-request-id" => id = value.to_owned(),
            "content-length" => length = value.parse().unwrap_or(0),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    input.read_exact(&mut body)?;
    Ok((id, String::from_utf8_lossy(&body).into_owned()))
}
