//! A second judge of reads that have to be linearizable. It knows what clients asked and were answered and nothing of
//! the server, and looks for an order that explains it: much slower than the first, and not written here.

use stateright::semantics::register::{Register, RegisterOp, RegisterRet};
use stateright::semantics::{ConsistencyTester, LinearizabilityTester};

use crate::server::{ClientId, Value};

/// The client, and which of its deeds it is.
pub type Asked = (ClientId, usize);

/// `None`: it was not asked for.
#[derive(Clone, Debug, Default, PartialEq, Hash)]
pub struct History(Option<LinearizabilityTester<Asked, Register<Value>>>);

impl History {
    pub fn new() -> Self {
        Self(Some(LinearizabilityTester::new(Register(0))))
    }

    /// Something is asked: to write this, or to read.
    pub fn ask(&mut self, asked: Asked, written: Option<Value>) {
        if let Some(tester) = &mut self.0 {
            tester.on_invoke(asked, written.map_or(RegisterOp::Read, RegisterOp::Write)).expect("asked once");
        }
    }

    /// It is answered: with this, or that it was written. What is never answered may have happened, or not.
    pub fn answer(&mut self, asked: Asked, read: Option<Value>) {
        if let Some(tester) = &mut self.0 {
            tester.on_return(asked, read.map_or(RegisterRet::WriteOk, RegisterRet::ReadOk)).expect("asked before");
        }
    }

    pub fn is_linearizable(&self) -> bool {
        self.0.as_ref().is_none_or(LinearizabilityTester::is_consistent)
    }
}
