import Foundation
import Model
import Recordings
import Synchronization
import Testing

@testable import GraphBuilder

@Suite("Root-cause trial")
struct RootCauseTrialTests {
    /// Samples of two recordings: three faults and two cases.
    private static func samples(_ folder: borrowing ScratchFolder) throws -> String {
        _ = try folder.write(
            "services-nezha/2022-08-22/faults.csv",
            ["inject_ts,root_cause_event,fault", "1000,cart,cpu", "2000,front,return", "3000,mail,network"])
        let petshop = "services-petshop/low_traffic"
        _ = try folder.write(
            petshop + "/cases.csv",
            [
                "case,split,target_event,target_market,target_venue,issue_ts,first_ts,last_ts,root_cause_event",
                "one,test,site,latency,Average,50500,50000,60000,db",
                "two,test,site,availability,Average,70500,70000,80000,queue",
            ])
        // Packed or plain is told by the first bytes, not by the name.
        _ = try folder.write(
            petshop + "/normal.csv.gz",
            [RecordingReader.columns, "5000,s|m|v,d,s,m,v,1", "4000,s|m|v,d,s,m,v,1", "9000,s|m|v,d,s,m,v,1"])
        return folder.path
    }

    private static let domains = ["call", "k8s-node", "petshop-a", "petshop-b", "service", "sli", "other"]

    private static func ranking(_ events: [String]) -> String {
        let list = events.map { #"{"event":"\#($0)","reason":"\#($0) is slow"}"# }.joined(separator: ",")
        return #"{"ranking":[\#(list)],"strength":2.5,"gate":{}}"#
    }

    private static func answer(_ question: FakeGateway.Question) -> FakeGateway.Answer {
        let events: [String] =
            switch question.json["from"] as? String {
            case "1970-01-01T00:00:01.000Z": ["cart", "front"]
            case "1970-01-01T00:00:02.000Z": ["a", "b", "front", "c"]
            case "1970-01-01T00:00:03.000Z": ["a", "b", "c", "d"]
            case "1970-01-01T00:00:49.999Z": ["a", "b", "c", "d", "db"]
            default: ["a", "b", "c", "d", "e", "queue"]
            }
        return .init(body: Self.ranking(events))
    }

    @Test("ranks are places in the answer, hits are counted within 1, 3 and 5, and who is not named is no hit")
    func scoring() async throws {
        let folder = try ScratchFolder()
        let (samples, answers) = (try Self.samples(folder), folder.path + "/answers.json")
        try await FakeGateway.with(Self.answer) { gateway, client in
            let trial = RootCauseTrial(client: client, samples: samples, answersPath: answers)
            let results = try await trial.run(domains: Self.domains)
            #expect(results.map(\.recording) == ["Nezha Online Boutique 2022-08-22", "PetShop low traffic"])
            #expect(results[0].cases.map(\.rank) == [1, 3, nil])
            #expect(results[0].cases.map(\.rootCause) == ["cart", "front", "mail"])
            #expect(results[0].cases.map(\.fault) == ["cpu", "return", "network"])
            #expect(results[0].cases.map(\.name) == ["fault 1", "fault 2", "fault 3"])
            #expect(results[0].cases[1].top3 == ["a", "b", "front"] && results[0].cases[1].reason == "a is slow")
            #expect([results[0].at1, results[0].at3, results[0].at5].map(\.hits) == [1, 2, 2])
            #expect([results[0].at1, results[0].at3, results[0].at5].map(\.of) == [3, 3, 3])
            #expect(results[1].cases.map(\.rank) == [5, 6])
            #expect([results[1].at1, results[1].at3, results[1].at5].map(\.hits) == [0, 0, 1])
            #expect(results[1].cases.map(\.fault) == ["latency", "availability"])
            #expect(results[0].cases.allSatisfy { $0.strength == 2.5 })
        }
    }

    @Test("a question knows the time of its case and, for PetShop, the target; nothing of the labels is sent")
    func questions() async throws {
        let folder = try ScratchFolder()
        let (samples, answers) = (try Self.samples(folder), folder.path + "/answers.json")
        try await FakeGateway.with(Self.answer) { gateway, client in
            _ = try await RootCauseTrial(client: client, samples: samples, answersPath: answers)
                .run(domains: Self.domains)
            let asked = gateway.questions
            #expect(asked.count == 5 && asked.allSatisfy { $0.path == "/v1/root-causes" })
            for question in asked {
                let text = String(decoding: question.body, as: UTF8.self)
                for word in ["cart", "front", "mail", "db", "queue", "cpu", "return", "network", "one", "two"] {
                    #expect(!text.contains("\"\(word)\""), "\(text)")
                }
            }
            let nezha = asked[0].json
            #expect(nezha["to"] as? String == "1970-01-01T00:05:01.000Z" && nezha["topology"] as? String == "nezha")
            #expect(nezha["baselineMinutes"] as? Int == 120 && nezha["target"] == nil)
            #expect(nezha["domains"] as? [String] == ["call", "k8s-node", "service", "sli"])
            let petshop = asked[3].json
            // Open at the start: the first sample belongs to the case, and the first row to the baseline.
            #expect(petshop["from"] as? String == "1970-01-01T00:00:49.999Z")
            #expect(petshop["to"] as? String == "1970-01-01T00:01:00.000Z")
            #expect(petshop["baselineFrom"] as? String == "1970-01-01T00:00:03.999Z")
            #expect(petshop["baselineTo"] as? String == "1970-01-01T00:00:09.000Z")
            #expect(petshop["domains"] as? [String] == ["petshop-a", "petshop-b"])
            let target = petshop["target"] as? [String: String]
            #expect(target == ["event": "site", "market": "latency", "venue": "Average"])
        }
    }

    @Test("answers are on disk before a label is read: without a place for them nothing is scored")
    func protocolOrder() async throws {
        let folder = try ScratchFolder()
        let samples = try Self.samples(folder)
        // A damaged file ends it before anything is asked.
        _ = try folder.write(
            "services-nezha/2022-08-22/faults.csv", ["inject_ts,root_cause_event,fault", "1000,\"cart,cpu"])
        let answers = folder.path + "/answers.json"
        try await FakeGateway.with(Self.answer) { gateway, client in
            await #expect(throws: RecordingError.self) {
                try await RootCauseTrial(client: client, samples: samples, answersPath: answers)
                    .run(domains: Self.domains)
            }
            #expect(gateway.questions.isEmpty)
        }
        _ = try Self.samples(folder)
        try await FakeGateway.with(Self.answer) { gateway, client in
            await #expect(throws: (any Error).self) {
                try await RootCauseTrial(client: client, samples: samples, answersPath: "/nowhere/answers.json")
                    .run(domains: Self.domains)
            }
            #expect(gateway.questions.count == 5)
            _ = try await RootCauseTrial(client: client, samples: samples, answersPath: answers)
                .run(domains: Self.domains)
            let written = try String(contentsOfFile: answers, encoding: .utf8)
            #expect(written.contains("\"cart is slow\"") && !written.contains("rootCause"))
        }
    }

    @Test("nothing is asked of a system that lacks one of the recordings")
    func notLoaded() async throws {
        let folder = try ScratchFolder()
        let path = folder.path
        try await FakeGateway.with(Self.answer) { gateway, client in
            let trial = RootCauseTrial(client: client, samples: path, answersPath: path + "/a")
            for domains in [["call", "k8s-node", "service", "sli"], ["petshop-a", "call", "service", "sli"]] {
                let results = try await trial.run(domains: domains)
                #expect(results.isEmpty)
            }
            #expect(gateway.questions.isEmpty)
        }
    }
}
