//! A Profile, which is read from a Namespace or a ServiceAccount (calico-compat §3.4).
//TEMP
use resource::Key;use serde_json::Value;pub fn of_namespace(_:&Value)->Result<(Key,String),String>{Err(String::new())}pub fn of_service_account(_:&Value)->Result<(Key,String),String>{Err(String::new())}