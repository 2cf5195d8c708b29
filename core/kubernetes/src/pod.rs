//! A WorkloadEndpoint, which is read from a Pod (calico-compat §3.4).
//TEMP
use resource::Key;use serde_json::Value;pub fn endpoints(_: &Value)->Result<Option<(Key,String)>,String>{Ok(None)} pub fn key(_:&Value)->Option<Key>{None} pub fn patch(_:&str)->Result<Value,String>{Err(String::new())} pub fn removal()->Value{Value::Null} pub fn pod_of(_:&Key)->Option<(String,String)>{None}
