//! House rules that a machine can check: sizes, forbidden words, `unsafe`, casts and unwraps on data from outside, order in a file.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use proc_macro2::Span;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use crate::{defects, root};

/// Lines a function may have. A function that is one `match` of short arms is a table and may have more.
const FUNCTION_LINES: usize = 70;
/// Lines of code a file may have before its tests; files of rows are exempt.
const FILE_LINES: usize = 600;
/// Lines of an arm that still make a row of a table.
const ROW_LINES: usize = 4;
/// Crates whose bytes come from outside and which may therefore neither unwrap nor cast blindly.
const PURE: &[&str] = &["scsi", "device", "fault", "target", "iscsi"];
/// Crates that may hold `unsafe` blocks.
const UNSAFE: &[&str] = &["reactor", "store"];
/// Module names that say nothing.
const EMPTY_NAMES: &[&str] = &["utils", "util", "misc", "common", "manager", "helpers"];
/// Words that must not stay behind.
const LEFTOVERS: &[&str] = &[concat!("FIX", "ME"), concat!("TO", "DO"), concat!("XX", "X"), concat!("HA", "CK")];

/// Checks every Rust file of the workspace.
pub fn check() -> Result<()> {
    let mut wrong = Vec::new();
    let mut tests = defects::Tests::new();
    for path in sources()? {
        let text = std::fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
        let name = path.strip_prefix(root()).unwrap_or(&path).display().to_string();
        check_text(&name, &text, &mut wrong);
        tests.add(&text);
        let file = syn::parse_file(&text).with_context(|| format!("{name} does not parse"))?;
        check_file(&name, &text, &file, &mut wrong);
    }
    defects::check(&mut tests, &mut wrong)?;
    if !wrong.is_empty() {
        bail!("{}", wrong.join("\n"));
    }
    Ok(())
}

fn sources() -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for folder in ["crates", "xtask", "fuzz"] {
        collect(&root().join(folder), &mut found)?;
    }
    found.sort();
    Ok(found)
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            // What the compiler makes is marked so; a crate may have the same name.
            if !path.join("CACHEDIR.TAG").exists() {
                collect(&path, found)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(())
}

fn check_text(name: &str, text: &str, wrong: &mut Vec<String>) {
    for (number, line) in text.lines().enumerate() {
        let at = format!("{name}:{}", number + 1);
        if line.contains('\t') {
            wrong.push(format!("{at}: a tab"));
        }
        if line.ends_with(' ') {
            wrong.push(format!("{at}: blanks at the end of the line"));
        }
        for word in LEFTOVERS {
            if line.split(|letter: char| !letter.is_alphanumeric()).any(|found| found == *word) {
                wrong.push(format!("{at}: '{word}' was left behind"));
            }
        }
    }
    if !text.starts_with("//!") {
        wrong.push(format!("{name}:1: no module doc"));
    }
    let stem = Path::new(name).file_stem().unwrap_or_default().to_string_lossy().into_owned();
    if EMPTY_NAMES.contains(&stem.as_str()) {
        wrong.push(format!("{name}: '{stem}' says nothing about what is in it"));
    }
}

fn check_file(name: &str, text: &str, file: &syn::File, wrong: &mut Vec<String>) {
    let crate_name = name.split('/').nth(1).unwrap_or_default();
    let is_test = name.contains("/tests/") || name.contains("/examples/") || name.ends_with("tests.rs") || name.ends_with("/testing.rs");
    let tests_from = tests_from(file);
    let lines = text.lines().take(tests_from.unwrap_or(usize::MAX).saturating_sub(1));
    let code = lines.filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with("//")).count();
    if code > FILE_LINES && !is_test && !is_table(file, code) {
        wrong.push(format!("{name}: {code} lines of code before the tests, {FILE_LINES} are the limit"));
    }
    // What stands in a file of its own may be named anywhere.
    let behind =
        file.items.iter().skip_while(|item| !matches!(item, syn::Item::Mod(module) if module.content.is_some() && is_cfg_test(&module.attrs)));
    if let Some(from) = tests_from
        && behind.skip(1).any(|item| !matches!(item, syn::Item::Mod(module) if is_cfg_test(&module.attrs)))
    {
        wrong.push(format!("{name}:{from}: tests are not last"));
    }
    let in_crate = name.starts_with("crates/");
    let mut rules = Rules {
        name,
        pure: in_crate && PURE.contains(&crate_name) && !is_test,
        unsafe_allowed: in_crate && UNSAFE.contains(&crate_name),
        is_test,
        in_const: false,
        wrong,
    };
    rules.visit_file(file);
    if name.ends_with("src/lib.rs") && in_crate && !UNSAFE.contains(&crate_name) && !text.contains("#![forbid(unsafe_code)]") {
        wrong.push(format!("{name}: no #![forbid(unsafe_code)]"));
    }
}

/// Line of the first test module.
fn tests_from(file: &syn::File) -> Option<usize> {
    file.items.iter().find_map(|item| match item {
        syn::Item::Mod(module) if is_cfg_test(&module.attrs) => Some(module.span().start().line),
        _ => None,
    })
}

fn is_cfg_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let syn::Meta::List(list) = &attribute.meta else { return attribute.path().is_ident("test") };
        list.path.is_ident("cfg") && list.tokens.to_string().split(|letter: char| !letter.is_alphanumeric()).any(|word| word == "test")
    })
}

/// More than half of the file is one static or constant: a table.
fn is_table(file: &syn::File, code: usize) -> bool {
    let rows = file.items.iter().filter(|item| matches!(item, syn::Item::Static(_) | syn::Item::Const(_)));
    rows.map(|item| length(item.span())).sum::<usize>() * 2 > code
}

fn length(span: Span) -> usize {
    span.end().line.saturating_sub(span.start().line) + 1
}

struct Rules<'a> {
    name: &'a str,
    pure: bool,
    unsafe_allowed: bool,
    is_test: bool,
    /// Inside a `const fn`, which has no other conversion than `as`.
    in_const: bool,
    wrong: &'a mut Vec<String>,
}

impl Rules<'_> {
    fn wrong(&mut self, span: Span, what: &str) {
        let line = span.start().line;
        self.wrong.push(format!("{}:{line}: {what}", self.name));
    }

    fn enter(&mut self, signature: &syn::Signature) -> bool {
        std::mem::replace(&mut self.in_const, signature.constness.is_some())
    }

    fn function(&mut self, name: &syn::Ident, body: &syn::Block) {
        let lines = length(body.span());
        if lines > FUNCTION_LINES && !self.is_test && !is_match_table(body) {
            self.wrong(name.span(), &format!("fn {name} has {lines} lines, {FUNCTION_LINES} are the limit"));
        }
    }
}

/// The body is one `match` whose arms are all short.
fn is_match_table(body: &syn::Block) -> bool {
    let Some(syn::Stmt::Expr(expression, _)) = body.stmts.last() else { return false };
    let expression = match expression {
        syn::Expr::Call(call) if call.args.len() == 1 => &call.args[0],
        other => other,
    };
    let syn::Expr::Match(found) = expression else { return false };
    length(found.span()) * 10 > length(body.span()) * 8 && found.arms.iter().all(|arm| length(arm.span()) <= ROW_LINES)
}

/// `x as u8` is fine where the value visibly fits: a mask, a shift, a literal, a byte-sized method result.
fn visibly_fits(expression: &syn::Expr) -> bool {
    match expression {
        syn::Expr::Paren(inner) => visibly_fits(&inner.expr),
        syn::Expr::Binary(binary) => {
            matches!(binary.op, syn::BinOp::BitAnd(_) | syn::BinOp::Shr(_) | syn::BinOp::Rem(_))
                || (visibly_fits(&binary.left) && visibly_fits(&binary.right))
        }
        syn::Expr::Lit(_) | syn::Expr::Cast(_) => true,
        syn::Expr::Path(path) => path.path.segments.last().is_some_and(|last| last.ident.to_string().chars().all(|letter| !letter.is_lowercase())),
        _ => false,
    }
}

impl<'ast> Visit<'ast> for Rules<'_> {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !is_cfg_test(&module.attrs) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        if is_cfg_test(&function.attrs) {
            return;
        }
        self.function(&function.sig.ident, &function.block);
        let outer = self.enter(&function.sig);
        visit::visit_item_fn(self, function);
        self.in_const = outer;
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.function(&function.sig.ident, &function.block);
        let outer = self.enter(&function.sig);
        visit::visit_impl_item_fn(self, function);
        self.in_const = outer;
    }

    fn visit_expr_unsafe(&mut self, block: &'ast syn::ExprUnsafe) {
        if !self.unsafe_allowed && !self.is_test {
            self.wrong(block.span(), "unsafe outside the crates that may");
        }
        visit::visit_expr_unsafe(self, block);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        if self.pure && (call.method == "unwrap" || call.method == "expect") {
            self.wrong(call.method.span(), &format!(".{}() in a pure crate", call.method));
        }
        visit::visit_expr_method_call(self, call);
    }

    fn visit_expr_cast(&mut self, cast: &'ast syn::ExprCast) {
        let narrow = match &*cast.ty {
            syn::Type::Path(path) => ["u8", "u16", "u32", "i8", "i16", "i32", "usize"].iter().any(|narrow| path.path.is_ident(narrow)),
            _ => false,
        };
        if self.pure && narrow && !self.in_const && !visibly_fits(&cast.expr) {
            self.wrong(cast.span(), "`as` to a narrower type in a pure crate: use try_from, from, or mask the value in place");
        }
        visit::visit_expr_cast(self, cast);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(name: &str, text: &str) -> Vec<String> {
        let mut wrong = Vec::new();
        check_text(name, text, &mut wrong);
        check_file(name, text, &syn::parse_file(text).expect("parses"), &mut wrong);
        wrong
    }

    #[test]
    fn a_tidy_file_passes() {
        let text = "//! Doc.\nfn f(x: u64) -> u8 { (x & 0xff) as u8 }\n";
        assert_eq!(complaints("crates/scsi/src/a.rs", text), Vec::<String>::new());
    }

    #[test]
    fn each_rule_fires() {
        let cases = [
            ("crates/scsi/src/a.rs", "//! D.\nfn f(x: u64) -> u8 { x as u8 }\n", "narrower"),
            ("crates/scsi/src/a.rs", "//! D.\nfn f(x: Option<u8>) -> u8 { x.unwrap() }\n", "unwrap"),
            ("crates/daemon/src/a.rs", "//! D.\nfn f() { unsafe { g() } }\n", "unsafe"),
            ("crates/daemon/src/a.rs", "fn f() {}\n", "no module doc"),
            ("crates/daemon/src/utils.rs", "//! D.\n", "says nothing"),
            ("crates/daemon/src/a.rs", "//! D.\n\tfn f() {}\n", "tab"),
            ("crates/daemon/src/a.rs", "//! D. \n", "blanks"),
            ("crates/daemon/src/a.rs", "//! D.\n#[cfg(test)]\nmod tests {}\nfn late() {}\n", "not last"),
            ("crates/daemon/src/lib.rs", "//! D.\n", "forbid"),
        ];
        for (name, text, expected) in cases {
            assert!(complaints(name, text).iter().any(|found| found.contains(expected)), "{expected}");
        }
        let long = format!("//! D.\nfn f() {{\n{}}}\n", "    g();\n".repeat(FUNCTION_LINES));
        assert!(complaints("crates/daemon/src/a.rs", &long).iter().any(|found| found.contains("are the limit")));
    }
}
