//! `RuleService`.

use crate::catalogue::Once;
use crate::domain::ids::StreamName;
use crate::domain::rule::{Rule, RuleChange};
use crate::grpc::convert::request_id::{once, respond};
use crate::grpc::convert::rule::{new_rule, rule_change, trial, trial_report, which};
use crate::grpc::layers::caller;
use crate::identity::{Describe, Read, authorize};
use crate::rules::{Author, Removed, Rules};
use eventflow_proto::v1::{
    CreateRuleRequest, CreateRuleResponse, DeleteRuleRequest, DeleteRuleResponse, DisableRuleRequest,
    DisableRuleResponse, EnableRuleRequest, EnableRuleResponse, GetRuleRequest, GetRuleResponse, GetRuleStatusRequest,
    GetRuleStatusResponse, ListRulesRequest, ListRulesResponse, TestRuleRequest, TestRuleResponse, UpdateRuleRequest,
    UpdateRuleResponse, rule_service_server::RuleService,
};
use tonic::{Request, Response, Status};

/// Processing rules, over their room.
pub struct RuleCalls {
    rules: Rules,
}

impl RuleCalls {
    pub fn new(rules: Rules) -> Self {
        Self { rules }
    }
}

#[tonic::async_trait]
impl RuleService for RuleCalls {
    async fn create_rule(&self, request: Request<CreateRuleRequest>) -> Result<Response<CreateRuleResponse>, Status> {
        let author = Author::new(&caller(&request)?)?;
        let request = request.into_inner();
        let once = once::<Rule, CreateRuleResponse>("CreateRule", &request.request_id, &request)?;
        respond(&self.rules.create(&author, &once, &new_rule(request.rule)?).await?)
    }

    async fn get_rule(&self, request: Request<GetRuleRequest>) -> Result<Response<GetRuleResponse>, Status> {
        let granted = authorize(&caller(&request)?, Describe)?;
        let (stream, name) = which(&request.get_ref().stream, &request.get_ref().name)?;
        let rule = self.rules.get(&granted, &stream, &name).await?;
        Ok(Response::new(GetRuleResponse { rule: Some((&rule).into()) }))
    }

    async fn list_rules(&self, request: Request<ListRulesRequest>) -> Result<Response<ListRulesResponse>, Status> {
        let granted = authorize(&caller(&request)?, Describe)?;
        let stream = StreamName::parse("stream", &request.get_ref().stream)?;
        let rules = self.rules.list(&granted, &stream).await?;
        Ok(Response::new(ListRulesResponse { rules: rules.iter().map(Into::into).collect() }))
    }

    async fn update_rule(&self, request: Request<UpdateRuleRequest>) -> Result<Response<UpdateRuleResponse>, Status> {
        let author = Author::new(&caller(&request)?)?;
        let request = request.into_inner();
        let once = once::<Rule, UpdateRuleResponse>("UpdateRule", &request.request_id, &request)?;
        let ((stream, name), change) = rule_change(&request)?;
        respond(&self.rules.update(&author, &once, (&stream, &name), &change).await?)
    }

    async fn delete_rule(&self, request: Request<DeleteRuleRequest>) -> Result<Response<DeleteRuleResponse>, Status> {
        let author = Author::new(&caller(&request)?)?;
        let request = request.into_inner();
        let once = once::<Removed, DeleteRuleResponse>("DeleteRule", &request.request_id, &request)?;
        let (stream, name) = which(&request.stream, &request.name)?;
        respond(&self.rules.delete(&author, &once, (&stream, &name)).await?)
    }

    async fn enable_rule(&self, request: Request<EnableRuleRequest>) -> Result<Response<EnableRuleResponse>, Status> {
        let author = Author::new(&caller(&request)?)?;
        let request = request.into_inner();
        let once: Once<Rule> = once::<Rule, EnableRuleResponse>("EnableRule", &request.request_id, &request)?;
        let (stream, name) = which(&request.stream, &request.name)?;
        let change = RuleChange { disabled: Some(false), ..RuleChange::default() };
        respond(&self.rules.update(&author, &once, (&stream, &name), &change).await?)
    }

    async fn disable_rule(
        &self,
        request: Request<DisableRuleRequest>,
    ) -> Result<Response<DisableRuleResponse>, Status> {
        let author = Author::new(&caller(&request)?)?;
        let request = request.into_inner();
        let once: Once<Rule> = once::<Rule, DisableRuleResponse>("DisableRule", &request.request_id, &request)?;
        let (stream, name) = which(&request.stream, &request.name)?;
        let change = RuleChange { disabled: Some(true), ..RuleChange::default() };
        respond(&self.rules.update(&author, &once, (&stream, &name), &change).await?)
    }

    async fn test_rule(&self, request: Request<TestRuleRequest>) -> Result<Response<TestRuleResponse>, Status> {
        let granted = authorize(&caller(&request)?, Read)?;
        let payloads = request.get_ref().payload_view();
        let report = self.rules.test(&granted, &trial(request.into_inner())?).await?;
        Ok(Response::new(trial_report(report, payloads)))
    }

    async fn get_rule_status(
        &self,
        request: Request<GetRuleStatusRequest>,
    ) -> Result<Response<GetRuleStatusResponse>, Status> {
        let granted = authorize(&caller(&request)?, Describe)?;
        let stream = StreamName::parse("stream", &request.get_ref().stream)?;
        Ok(Response::new(self.rules.status(&granted, &stream).await?.into()))
    }
}
