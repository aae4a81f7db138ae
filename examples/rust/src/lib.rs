//! A function that parses a JSON document into a tree, looks for the longest chain of
//! dependencies in it, and answers with text.
//!
//! The binaries differ in one thing, their global allocator: `json-stock` has the system's,
//! `json-soft` has memento, `json-emu` has memento on the emulated hardware.
//!
//! ```
//! use memento_examples::Json;
//! let json = Json::parse(r#"{"a": [1, "two", null]}"#).unwrap();
//! assert_eq!(json.get("a").items()[1].text(), "two");
//! ```

mod json;

pub use json::{Json, ParseError};
use std::collections::{BTreeMap, HashMap};
use std::error::Error;

/// Longest chain of dependencies from each package, memoised.
fn depth<'a>(
    id: &'a str,
    graph: &HashMap<&'a str, Vec<&'a str>>,
    known: &mut HashMap<&'a str, Vec<&'a str>>,
) -> Vec<&'a str> {
    if let Some(chain) = known.get(id) {
        return chain.clone();
    }
    // Dependencies for tests may lead back: a package under way counts as a leaf.
    known.insert(id, vec![id]);
    let longest = graph.get(id).into_iter().flatten().map(|next| depth(next, graph, known));
    let mut chain = longest.max_by_key(Vec::len).unwrap_or_default();
    chain.insert(0, id);
    known.insert(id, chain.clone());
    chain
}

/// The function: the output of `cargo metadata` in, a report out.
///
/// # Errors
/// If the body is no JSON.
pub fn handler(body: &str) -> Result<String, ParseError> {
    let event = Json::parse(body)?;
    let names: HashMap<&str, &str> = event
        .get("packages")
        .items()
        .iter()
        .map(|package| (package.get("id").text(), package.get("name").text()))
        .collect();
    let graph: HashMap<&str, Vec<&str>> = event
        .get("resolve")
        .get("nodes")
        .items()
        .iter()
        .map(|node| {
            let next = node.get("dependencies").items().iter().map(Json::text);
            (node.get("id").text(), next.collect())
        })
        .collect();
    let mut known = HashMap::new();
    let mut chains = BTreeMap::new();
    for (id, name) in &names {
        let chain = depth(id, &graph, &mut known);
        let chain: Vec<String> = chain.iter().map(|id| names[id].to_owned()).collect();
        chains.insert((*name, chain.len()), chain);
    }
    let longest = chains.values().map(Vec::len).max().unwrap_or_default();
    let mut answer = format!("{} packages, longest chain {longest}\n", names.len());
    for ((name, length), _) in chains.iter().filter(|(_, chain)| chain.len() == longest).take(3) {
        answer.push_str(&format!("{name}: {length}\n"));
    }
    Ok(answer)
}

/// `main` of every binary: the function on the file named, as often as asked for.
///
/// # Errors
/// If the file cannot be read or is no JSON.
pub fn run() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().ok_or("which file?")?;
    let times: usize = arguments.next().map_or(Ok(1), |times| times.parse())?;
    let body = std::fs::read_to_string(file)?;
    let mut answer = String::new();
    for _ in 0..times {
        answer = handler(&body)?;
    }
    print!("{answer}");
    Ok(())
}
