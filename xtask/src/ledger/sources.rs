//! What the ledger reads of the sources: names of each file, tests and the commands they send, and which functions carry out which command.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::OnceLock;

use anyhow::{Context, Result};
use scsi::command::CommandRow;
use syn::visit::{self, Visit};

use crate::root;

/// How far calls are followed from a test to the helper that builds its CDB.
const DEPTH: usize = 2;
/// Lengths of CDBs.
const LENGTHS: [usize; 5] = [6, 10, 12, 16, 32];

/// A CDB as far as a test spells it out.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Cdb {
    opcode: u8,
    action: Option<u16>,
    /// `None`: an array that is filled by assignments.
    length: Option<usize>,
}

/// What a function's body holds.
#[derive(Default, Clone)]
struct Body {
    cdbs: BTreeSet<Cdb>,
    /// Names of functions and constants.
    uses: BTreeSet<String>,
    operations: BTreeSet<String>,
}

/// A test and what it sends.
pub struct Test {
    /// Its function.
    pub name: String,
    /// Path below `crates`.
    pub file: String,
    cdbs: BTreeSet<Cdb>,
    operations: BTreeSet<String>,
}

impl Test {
    /// Sends this command, or names it.
    pub fn is_about(&self, row: &CommandRow) -> bool {
        let action = |cdb: &Cdb| row.service_action.is_none_or(|action| cdb.action == Some(action));
        let sent = |cdb: &Cdb| cdb.opcode == row.opcode && action(cdb) && cdb.length.is_none_or(|length| length == row.usage.len());
        self.operations.contains(&format!("{:?}", row.operation)) || self.cdbs.iter().any(sent)
    }
}

/// All of it.
#[derive(Default)]
pub struct Sources {
    /// Functions, types and constants of each file.
    symbols: BTreeMap<String, BTreeSet<String>>,
    /// In order of file and line.
    pub tests: Vec<Test>,
    /// Called in the arm of an operation, by the operation's name.
    carried_out: BTreeMap<String, BTreeSet<String>>,
}

impl Sources {
    /// Every file below `crates`, read once.
    ///
    /// # Errors
    /// A file cannot be read or parsed.
    pub fn of_tree() -> Result<&'static Sources> {
        static TREE: OnceLock<Sources> = OnceLock::new();
        if let Some(sources) = TREE.get() {
            return Ok(sources);
        }
        let sources = Sources::read()?;
        Ok(TREE.get_or_init(|| sources))
    }

    /// One file with this text.
    #[cfg(test)]
    pub fn of(name: &str, text: &str) -> Sources {
        let mut sources = Sources::default();
        sources.add(name, &syn::parse_file(text).expect("parses"));
        sources
    }

    fn read() -> Result<Sources> {
        let folder = root().join("crates");
        let mut sources = Sources::default();
        let mut files = Vec::new();
        collect(&folder, &mut files)?;
        files.sort();
        for path in files {
            let name = path.strip_prefix(&folder).unwrap_or(&path).to_string_lossy().into_owned();
            let text = std::fs::read_to_string(&path).with_context(|| name.clone())?;
            let file = syn::parse_file(&text).with_context(|| name.clone())?;
            sources.add(&name, &file);
        }
        Ok(sources)
    }

    /// There is such a function, type or constant in the file.
    pub fn has(&self, file: &str, symbol: &str) -> bool {
        self.symbols.get(file).is_some_and(|symbols| symbols.contains(symbol))
    }

    /// There is such a test.
    pub fn has_test(&self, name: &str) -> bool {
        self.tests.iter().any(|test| test.name == name)
    }

    /// What is called for a command.
    pub fn called_for(&self, row: &CommandRow) -> impl Iterator<Item = &String> {
        self.carried_out.get(&format!("{:?}", row.operation)).into_iter().flatten()
    }

    fn add(&mut self, name: &str, file: &syn::File) {
        let mut functions = Functions::default();
        functions.visit_file(file);
        for test in &functions.tests {
            let mut body = Body::default();
            functions.follow(test, DEPTH, &mut body);
            self.tests.push(Test { name: test.clone(), file: name.to_owned(), cdbs: body.cdbs, operations: body.operations });
        }
        if name.starts_with("device/src") || name.starts_with("target/src") {
            for (operation, called) in functions.arms {
                self.carried_out.entry(operation).or_default().extend(called);
            }
        }
        self.symbols.insert(name.to_owned(), functions.symbols);
    }
}

fn collect(folder: &Path, files: &mut Vec<std::path::PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| format!("{}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

/// Functions of a file, wherever they stand.
#[derive(Default)]
struct Functions {
    symbols: BTreeSet<String>,
    /// In their order.
    tests: Vec<String>,
    /// Functions and constants by name; of those with the same name, all.
    bodies: BTreeMap<String, Body>,
    arms: BTreeMap<String, BTreeSet<String>>,
    in_tests: bool,
}

impl Functions {
    /// Adds what the function of this name holds, and what it calls.
    fn follow(&self, name: &str, depth: usize, into: &mut Body) {
        let Some(body) = self.bodies.get(name) else { return };
        into.cdbs.extend(body.cdbs.iter().copied());
        into.operations.extend(body.operations.iter().cloned());
        if depth > 0 {
            for used in body.uses.iter().filter(|used| used.as_str() != name) {
                self.follow(used, depth - 1, into);
            }
        }
    }

    fn function(&mut self, signature: &syn::Signature, attributes: &[syn::Attribute], block: &syn::Block) {
        let name = signature.ident.to_string();
        self.symbols.insert(name.clone());
        if attributes.iter().any(|attribute| attribute.path().is_ident("test")) {
            self.tests.push(name.clone());
        }
        let mut reader = Reader(self.bodies.remove(&name).unwrap_or_default());
        reader.visit_block(block);
        self.bodies.insert(name, reader.0);
    }
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        let outer = self.in_tests;
        self.in_tests |= module.ident == "tests";
        visit::visit_item_mod(self, module);
        self.in_tests = outer;
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.function(&function.sig, &function.attrs, &function.block);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.function(&function.sig, &function.attrs, &function.block);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_item_const(&mut self, item: &'ast syn::ItemConst) {
        let mut reader = Reader(Body::default());
        reader.visit_expr(&item.expr);
        self.symbols.insert(item.ident.to_string());
        self.bodies.insert(item.ident.to_string(), reader.0);
    }

    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.symbols.insert(item.ident.to_string());
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.symbols.insert(item.ident.to_string());
    }

    /// Properties of `proptest!` are functions inside of a macro.
    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        let mut tokens = item.tokens.clone().into_iter().peekable();
        while let Some(token) = tokens.next() {
            if let (proc_macro2::TokenTree::Ident(word), Some(proc_macro2::TokenTree::Ident(name))) = (&token, tokens.peek())
                && word == "fn"
            {
                self.symbols.insert(name.to_string());
                self.tests.push(name.to_string());
            }
        }
    }

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        let mut pattern = Operations::default();
        pattern.visit_pat(&arm.pat);
        if !pattern.0.is_empty() && !self.in_tests {
            let mut calls = Calls::default();
            calls.visit_expr(&arm.body);
            for operation in pattern.0 {
                self.arms.entry(operation).or_default().extend(calls.0.iter().cloned());
            }
        }
        visit::visit_arm(self, arm);
    }
}

/// Operations that a pattern names.
#[derive(Default)]
struct Operations(BTreeSet<String>);

impl<'ast> Visit<'ast> for Operations {
    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.0.extend(operation(path));
    }
}

/// `Operation::X`, or the short name that some modules give it; `Action::X` is what PERSISTENT RESERVE OUT calls its own.
fn operation(path: &syn::Path) -> Option<String> {
    let mut segments = path.segments.iter().rev();
    let last = segments.next()?;
    let of = segments.next()?;
    match of.ident.to_string().as_str() {
        "Operation" | "Op" => Some(last.ident.to_string()),
        "Action" => Some(format!("PersistentReserveOut{}", last.ident)),
        _ => None,
    }
}

/// A check, a conversion or a question on the way, and not what carries a command out.
fn is_aside(function: &str) -> bool {
    function.starts_with("check") || ["from", "thin", "serves_standby", "list_length", "byte_check"].contains(&function)
}

/// Functions of other modules, and methods of our own values, that an arm calls.
#[derive(Default)]
struct Calls(BTreeSet<String>);

impl<'ast> Visit<'ast> for Calls {
    fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
        if let syn::Expr::Path(path) = &*call.func {
            let names: Vec<String> = path.path.segments.iter().map(|segment| segment.ident.to_string()).collect();
            let lower = |name: &String| name.starts_with(|letter: char| letter.is_lowercase());
            if let [.., module, function] = names.as_slice()
                && lower(module)
                && lower(function)
                && !is_aside(function)
            {
                self.0.insert(format!("{module}::{function}"));
            }
        }
        visit::visit_expr_call(self, call);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        let of_self = match &*call.receiver {
            syn::Expr::Path(path) => path.path.is_ident("self"),
            syn::Expr::Field(field) => matches!(&*field.base, syn::Expr::Path(path) if path.path.is_ident("self")),
            _ => false,
        };
        if of_self && !is_aside(&call.method.to_string()) {
            self.0.insert(call.method.to_string());
        }
        visit::visit_expr_method_call(self, call);
    }
}

/// Collects what a body holds.
struct Reader(Body);

fn literal(expression: &syn::Expr) -> Option<u16> {
    match expression {
        syn::Expr::Lit(literal) => match &literal.lit {
            syn::Lit::Int(number) => number.base10_parse().ok(),
            _ => None,
        },
        // `flags | 0x11`: the service action is the part that is known.
        syn::Expr::Binary(binary) if matches!(binary.op, syn::BinOp::BitOr(_)) => literal(&binary.left).or_else(|| literal(&binary.right)),
        _ => None,
    }
}

impl Reader {
    fn array(&mut self, first: Option<u16>, second: Option<u16>, elements: &[Option<u16>], length: usize) {
        let Some(opcode) = first.and_then(|value| u8::try_from(value).ok()) else { return };
        if LENGTHS.contains(&length) {
            let long = elements.get(8..10).and_then(|bytes| Some(bytes[0]? << 8 | bytes[1]?));
            let action = if opcode == 0x7f { long } else { second.map(|byte| byte & 0x1f) };
            self.0.cdbs.insert(Cdb { opcode, action, length: Some(length) });
        }
    }

    /// `cdb[0] = 0x9e`: every first byte with every second one that the function assigns.
    fn assign(&mut self, place: &syn::Expr, value: &syn::Expr) {
        if let (syn::Expr::Tuple(places), syn::Expr::Tuple(values)) = (place, value) {
            for (place, value) in places.elems.iter().zip(&values.elems) {
                self.assign(place, value);
            }
        }
        let syn::Expr::Index(index) = place else { return };
        let (Some(place), Some(value)) = (literal(&index.index), literal(value)) else { return };
        match place {
            0 => self.0.cdbs.extend(u8::try_from(value).ok().map(|opcode| Cdb { opcode, action: None, length: None })),
            1 => {
                let known: Vec<Cdb> = self.0.cdbs.iter().filter(|cdb| cdb.length.is_none()).copied().collect();
                self.0.cdbs.extend(known.into_iter().map(|cdb| Cdb { action: Some(value & 0x1f), ..cdb }));
            }
            _ => {}
        }
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_expr_array(&mut self, array: &'ast syn::ExprArray) {
        let elements: Vec<Option<u16>> = array.elems.iter().map(literal).collect();
        self.array(elements.first().copied().flatten(), elements.get(1).copied().flatten(), &elements, elements.len());
        visit::visit_expr_array(self, array);
    }

    fn visit_expr_repeat(&mut self, array: &'ast syn::ExprRepeat) {
        if let (Some(first), Some(length)) = (literal(&array.expr), literal(&array.len)) {
            // Longer arrays of one value are seldom CDBs, TEST UNIT READY often is.
            if length == 6 {
                self.array(Some(first), Some(first), &[], usize::from(length));
            }
        }
        visit::visit_expr_repeat(self, array);
    }

    fn visit_expr_assign(&mut self, assign: &'ast syn::ExprAssign) {
        self.assign(&assign.left, &assign.right);
        visit::visit_expr_assign(self, assign);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.0.operations.extend(operation(path));
        self.0.uses.extend(path.segments.last().map(|segment| segment.ident.to_string()));
        visit::visit_path(self, path);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        self.0.uses.insert(call.method.to_string());
        visit::visit_expr_method_call(self, call);
    }

    /// What stands in `assert_eq!` and its like are expressions, too.
    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        use syn::parse::Parser as _;
        let parser = syn::punctuated::Punctuated::<syn::Expr, syn::Token![,]>::parse_terminated;
        for expression in parser.parse2(item.tokens.clone()).into_iter().flatten() {
            self.visit_expr(&expression);
        }
    }
}

#[cfg(test)]
mod tests {
    use scsi::command::ROWS;

    use super::*;

    fn about(text: &str) -> Vec<(String, Vec<&'static str>)> {
        let sources = Sources::of("device/src/a.rs", text);
        let words = |test: &Test| ROWS.iter().filter(|row| test.is_about(row)).map(|row| row.word).collect();
        sources.tests.iter().map(|test| (test.name.clone(), words(test))).collect()
    }

    #[test]
    fn tests_are_found_by_the_commands_they_send() {
        let text = "
            const CDB: [u8; 6] = [0x12, 0, 0, 0, 36, 0];
            fn status(x: u8) -> [u8; 16] { let mut cdb = [0; 16]; cdb[0] = 0x9e; cdb[1] = 0x12; cdb[13] = x; cdb }
            #[test] fn reads() { assert_eq!(bench.good(&[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0]), [0x28, 1]); }
            #[test] fn asks() { bench.good(&status(3)); }
            #[test] fn inquires() { bench.good(&CDB); }
            #[test] fn names() { is(Operation::Unmap); }
            #[test] fn nothing() { let x = [0x28, 0, 0]; }
        ";
        let found = about(text);
        assert_eq!(found[0], ("reads".into(), vec!["READ10"]));
        assert_eq!(found[1], ("asks".into(), vec!["GET_LBA_STATUS16"]));
        assert_eq!(found[2], ("inquires".into(), vec!["INQUIRY"]));
        assert_eq!(found[3], ("names".into(), vec!["UNMAP"]));
        assert_eq!(found[4], ("nothing".into(), vec![]));
    }

    #[test]
    fn functions_are_found_by_the_arms_that_call_them() {
        let sources = Sources::of(
            "device/src/a.rs",
            "fn go() { match op { Op::Read10 | Op::Read6 => read_write::read(device), Op::Unmap => unmap::check(x), _ => z() } }",
        );
        let called = |word: &str| -> Vec<String> {
            let row = ROWS.iter().find(|row| row.word == word).expect("a row");
            sources.called_for(row).cloned().collect()
        };
        assert_eq!(called("READ10"), ["read_write::read"]);
        assert!(called("UNMAP").is_empty(), "a check is no carrying out");
        assert!(sources.has("device/src/a.rs", "go") && !sources.has("device/src/a.rs", "gone"));
    }
}
